//! Everything that goes into packages, made once: the stripped binary, man pages, completions, the
//! bill of materials.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Release, done, output, put, sbom};
use crate::run;

/// Shells, and where Debian's look for completions.
pub(super) const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/quipu"),
    ("zsh", "usr/share/zsh/vendor-completions/_quipu"),
    ("fish", "usr/share/fish/vendor_completions.d/quipu.fish"),
];

/// A directory that is gone when the release is packed.
pub(super) struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// Makes everything.
    pub(super) fn fill(release: &Release) -> Result<Self> {
        let stage = Self { dir: release.out.join(".stage") };
        std::fs::create_dir_all(stage.pages())?;
        let strip = ["--strip-unneeded", "--remove-section=.comment", "--output-file"];
        done(Command::new("strip").args(strip).arg(stage.binary()).arg(&release.binary))?;
        let program = || Command::new(&release.binary);
        done(program().args(["manual", "--pages"]).arg(stage.pages()))?;
        for (shell, _) in COMPLETIONS {
            let script = output(program().args(["completion", shell]))?;
            put(&stage.completion(shell), script + "\n", 0o644)?;
        }
        put(&stage.bill(), sbom::bill(release)?, 0o644)?;
        Ok(stage)
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.dir.join("quipu")
    }

    pub(super) fn pages(&self) -> PathBuf {
        self.dir.join("man")
    }

    pub(super) fn completion(&self, shell: &str) -> PathBuf {
        self.dir.join(format!("completion-{shell}"))
    }

    pub(super) fn bill(&self) -> PathBuf {
        self.dir.join("sbom.cdx.json")
    }

    /// Where a package's files are laid out.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.dir.join("packages").join(name)
    }

    /// The directory that is packed as a tarball: for any Linux with the libraries.
    pub(super) fn tarball(&self, name: &str) -> Result<PathBuf> {
        let root = self.place(name);
        let repository = run::root();
        copy(&self.binary(), &root.join("bin/quipu"), 0o755)?;
        for page in files(&self.pages())? {
            copy(&page, &root.join("share/man/man1").join(base(&page)?), 0o644)?;
        }
        for (shell, place) in COMPLETIONS {
            let place = Path::new(place.trim_start_matches("usr/"));
            copy(&self.completion(shell), &root.join(place), 0o644)?;
        }
        copy(&self.bill(), &root.join("share/doc/quipu/sbom.cdx.json"), 0o644)?;
        for (from, to) in [
            ("README.md", "README.md"),
            ("CHANGELOG.md", "CHANGELOG.md"),
            ("LICENSE", "LICENSE"),
            ("deploy/quipu.toml", "etc/quipu.toml"),
            ("deploy/systemd/quipu.service", "lib/systemd/system/quipu.service"),
            ("deploy/systemd/quipu.sysusers", "lib/sysusers.d/quipu.conf"),
        ] {
            copy(&repository.join(from), &root.join(to), 0o644)?;
        }
        open_directories(&root)?;
        Ok(root)
    }

    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.dir).context("remove what was staged")
    }
}

/// Copies a file and gives it these rights, whatever the umask.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    put(to, std::fs::read(from).with_context(|| format!("read {}", from.display()))?, mode)
}

/// The files of a directory, sorted.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut found = entries.map(|it| Ok(it?.path())).collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

pub(super) fn base(path: &Path) -> Result<String> {
    let name = path.file_name().context("a file has a name")?;
    Ok(name.to_str().context("names are text")?.to_owned())
}

/// Directories can be entered by all, whatever the umask.
pub(super) fn open_directories(dir: &Path) -> Result<()> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    files(dir)?.iter().filter(|it| it.is_dir()).try_for_each(|it| open_directories(it))
}
