//! What the build needs from the system: libclang, which RocksDB's bindings are generated with,
//! and a C++ compiler.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::{command, say};

/// Debian packages, each with a file that shows it is there.
const PACKAGES: &[(&str, &[&str])] = &[
    ("libclang-dev", &["/usr/lib/llvm-*/lib/libclang.so", "/usr/lib/llvm-*/lib/libclang.so.1"]),
    ("g++", &["/usr/bin/g++"]),
];

/// Installs what is missing; does nothing on a prepared machine.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, files)| !files.iter().any(|file| exists(file)))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() || std::env::var_os("LIBCLANG_PATH").is_some() {
        return Ok(());
    }
    say(&format!("installing {} (once)", missing.join(", ")));
    apt(&["update", "-qq"])?;
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(&missing);
    apt(&words)
}

fn apt(words: &[&str]) -> Result<()> {
    let status =
        command("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive").status().context(
            "start apt-get; on other systems install libclang and a C++ compiler by hand",
        )?;
    ensure!(status.success(), "apt-get {} failed: {status}", words.join(" "));
    Ok(())
}

/// Whether a path exists; one `*` may stand for the rest of a component.
fn exists(pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return Path::new(pattern).exists();
    };
    let (dir, prefix) = before.rsplit_once('/').expect("patterns are absolute");
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let fits = name.to_str().is_some_and(|name| name.starts_with(prefix));
        fits && Path::new(&format!("{dir}/{}{after}", name.to_string_lossy())).exists()
    })
}
