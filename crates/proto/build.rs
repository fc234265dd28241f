//! Compiles `proto/*.proto` with protox, so that no protoc has to be installed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    // Read when run: clones that share a target directory share this program, too.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "proto"))
        .collect();
    files.sort();
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Between nodes every message carries a checksum.
    let (peer, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|file| file.file_stem().is_some_and(|name| name == "peer"));
    let checked = tonic_prost_build::configure().codec_path("crate::Checked");
    checked.bytes(".").compile_fds(protox::compile(&peer, [&root])?)?;
    let plain = tonic_prost_build::configure();
    plain.bytes(".").compile_fds(protox::compile(&others, [&root])?)?;
    Ok(())
}
