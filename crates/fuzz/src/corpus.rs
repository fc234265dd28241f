//! Inputs that are kept: `corpus/TARGET/NAME`. Names that begin with `ok-` are of inputs that are
//! accepted, made by the product's own writers; `found-` are of inputs that broke a promise once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{TARGETS, Target};

/// The folder of all corpora.
#[must_use]
pub fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target by name, in order.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn load(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(corpus_dir().join(target.name))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        inputs.push((name, fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

/// Writes the inputs that the product's own writers make; says how many. Others stay.
///
/// # Errors
/// When a file cannot be written.
pub fn write_seeds() -> io::Result<usize> {
    let mut written = 0;
    for target in TARGETS {
        let dir = corpus_dir().join(target.name);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(dir.join(name), bytes)?;
            written += 1;
        }
    }
    Ok(written)
}
