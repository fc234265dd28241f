//! What is needed from the system. For the build: libclang, which RocksDB's bindings are generated
//! with, and a C++ compiler. For the chaos suite: tools for networks and file
//! systems. For a release: Debian's tools for packages.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::{command, say};

/// Debian packages, each with a file that shows it is there.
const PACKAGES: &[(&str, &[&str])] = &[
    ("libclang-dev", &["/usr/lib/llvm-*/lib/libclang.so", "/usr/lib/llvm-*/lib/libclang.so.1"]),
    ("g++", &["/usr/bin/g++"]),
];

/// What the chaos suite makes and breaks networks with.
const NETWORK: &[(&str, &[&str])] = &[
    ("iproute2", &["/usr/sbin/ip", "/sbin/ip"]),
    ("iptables", &["/usr/sbin/iptables", "/sbin/iptables"]),
    ("e2fsprogs", &["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"]),
];

/// What a release is packed with.
const PACKING: &[(&str, &[&str])] = &[
    ("binutils", &["/usr/bin/strip"]),
    ("dpkg-dev", &["/usr/bin/dpkg-shlibdeps"]),
    ("xz-utils", &["/usr/bin/xz"]),
];

/// Installs what packing lacks.
pub(crate) fn install_packing() -> Result<()> {
    install_all(PACKING)
}

/// Installs what the build lacks; does nothing on a prepared machine.
pub(crate) fn install() -> Result<()> {
    if std::env::var_os("LIBCLANG_PATH").is_some() { Ok(()) } else { install_all(PACKAGES) }
}

/// Installs what the chaos suite lacks. Without it the suite does less, and says so.
pub(crate) fn install_network_tools() -> Result<()> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
    if !is_root {
        return Ok(());
    }
    install_all(NETWORK).or_else(|error| {
        say(&format!("the suite will leave faults out: {error:#}"));
        Ok(())
    })
}

fn install_all(packages: &[(&str, &[&str])]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|(_, files)| !files.iter().any(|file| exists(file)))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
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
