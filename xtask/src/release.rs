//! `cargo xtask release`: what a release is made of, packed for those who install it.
//!
//! The same binary, commit and version give the same bytes: times are the commit's
//! (`SOURCE_DATE_EPOCH`), owners are root, orders are sorted.

mod deb;
mod sbom;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::release::stage::Stage;
use crate::{packages, run};

const USAGE: &str = "\
Usage: cargo xtask release [--binary FILE] [--version VERSION] [--out DIR] [--test]

Writes quipu-VERSION-MACHINE.tar.gz, quipu_VERSION-1_ARCHITECTURE.deb, quipu-VERSION.cdx.json and
SHA256SUMS into target-dir/release-artifacts.

  --binary FILE      pack this one instead of building a release
  --version VERSION  instead of the workspace's
  --out DIR          instead of release-artifacts
  --test             take a binary with failpoints, compress nothing: for tests of packages alone
";

/// What is packed, and how.
struct Release {
    version: String,
    /// Debian's word for the machine.
    architecture: String,
    /// Seconds since 1970 that files are dated with.
    date: u64,
    binary: PathBuf,
    out: PathBuf,
    is_test: bool,
}

/// Packs everything.
pub(crate) fn release(words: &[String]) -> Result<()> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        run::say(USAGE);
        return Ok(());
    }
    let mut release = Release::asked_for(words)?;
    packages::install_packing()?;
    if release.binary.as_os_str().is_empty() {
        packages::install()?;
        let build = ["build", "--release", "--locked", "--package", "quipu-cli", "--bin", "quipu"];
        run::cargo(&build)?;
        release.binary = run::target_dir().join("release/quipu");
    }
    release.check_binary()?;
    if release.out.exists() {
        std::fs::remove_dir_all(&release.out).context("empty the directory of artifacts")?;
    }
    let stage = Stage::fill(&release)?;
    let made = [release.tarball(&stage)?, deb::pack(&release, &stage)?, release.bill(&stage)?];
    stage.remove()?;
    release.checksums(&made)?;
    made.iter().for_each(|name| run::say(&format!("{}", release.out.join(name).display())));
    Ok(())
}

impl Release {
    fn asked_for(words: &[String]) -> Result<Self> {
        let mut release = Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: output(Command::new("dpkg").arg("--print-architecture"))?,
            date: commit_date()?,
            binary: PathBuf::new(),
            out: run::target_dir().join("release-artifacts"),
            is_test: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--binary" => release.binary = std::path::absolute(value()?)?,
                "--version" => value()?.clone_into(&mut release.version),
                "--out" => release.out = std::path::absolute(value()?)?,
                "--test" => release.is_test = true,
                _ => bail!("unknown flag {word}\n{USAGE}"),
            }
        }
        let is_version = |it: char| it.is_ascii_alphanumeric() || ".~+".contains(it);
        ensure!(
            release.version.starts_with(|it: char| it.is_ascii_digit())
                && release.version.chars().all(is_version),
            "{:?} is no version: digits first, then letters, digits and . ~ +",
            release.version
        );
        Ok(release)
    }

    /// A binary that tests can bend is for nobody else.
    fn check_binary(&self) -> Result<()> {
        let said = output(Command::new(&self.binary).arg("--version"))?;
        ensure!(
            self.is_test || !said.contains("failpoints"),
            "{} is {said}: no release; build one without the feature, or pack it with --test",
            self.binary.display()
        );
        Ok(())
    }

    /// Files are dated with this.
    fn epoch(&self) -> (&'static str, String) {
        ("SOURCE_DATE_EPOCH", self.date.to_string())
    }

    fn tarball(&self, stage: &Stage) -> Result<String> {
        let dir = format!("quipu-{}-{}-linux", self.version, std::env::consts::ARCH);
        let name = format!("{dir}.tar.gz");
        let root = stage.tarball(&dir)?;
        let level = if self.is_test { "gzip -n -1" } else { "gzip -n -9" };
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", self.date))
            .args(["--format=gnu", "--use-compress-program", level, "--file"])
            .arg(self.out.join(&name))
            .arg("--directory")
            .arg(root.parent().context("it is in a directory")?)
            .arg(&dir);
        done(&mut tar)?;
        Ok(name)
    }

    fn bill(&self, stage: &Stage) -> Result<String> {
        let name = format!("quipu-{}.cdx.json", self.version);
        std::fs::copy(stage.bill(), self.out.join(&name))?;
        Ok(name)
    }

    fn checksums(&self, names: &[String]) -> Result<()> {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort();
        let sums = output(Command::new("sha256sum").args(names).current_dir(&self.out))?;
        std::fs::write(self.out.join("SHA256SUMS"), sums + "\n")?;
        Ok(())
    }
}

/// When the commit was made, or what the caller says.
fn commit_date() -> Result<u64> {
    let said = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => said,
        Err(_) => output(run::command("git").args(["log", "-1", "--format=%ct"]))?,
    };
    said.parse().with_context(|| format!("{said:?} is no number of seconds"))
}

/// What a program prints, without the end of its last line.
fn output(command: &mut Command) -> Result<String> {
    let named = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("start {}", named.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}\n{said}", named.display(), output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Runs a program for what it does.
fn done(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// Writes a file with these rights, and the directories above it.
fn put(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}
