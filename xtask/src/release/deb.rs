//! The package for Debian, made by Debian's own tools. What it does when it is installed and
//! removed is in `deploy/deb`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::stage::{COMPLETIONS, Stage, base, copy, files, open_directories};
use super::{Release, done, output, put};
use crate::run;

const DOC: &str = "usr/share/doc/quipu";

/// Packs it; its file's name.
pub(super) fn pack(release: &Release, stage: &Stage) -> Result<String> {
    let root = stage.place("deb");
    lay_out(release, stage, &root)?;
    control(release, &root)?;
    open_directories(&root)?;
    let version = format!("{}-1", release.version);
    let name = format!("quipu_{version}_{}.deb", release.architecture);
    let mut pack = Command::new("dpkg-deb");
    // One thread: several cut the file differently.
    pack.args(["--root-owner-group", "--threads-max=1"]).args(
        // Packages of tests are read once, on this machine.
        if release.is_test { ["-Znone", "-z1"] } else { ["-Zxz", "-z6"] },
    );
    pack.arg("--build").arg(&root).arg(release.out.join(&name)).envs([release.epoch()]);
    done(&mut pack)?;
    Ok(name)
}

/// Files where Debian has them.
fn lay_out(release: &Release, stage: &Stage, root: &Path) -> Result<()> {
    let deploy = run::root().join("deploy");
    copy(&stage.binary(), &root.join("usr/bin/quipu"), 0o755)?;
    for (shell, place) in COMPLETIONS {
        copy(&stage.completion(shell), &root.join(place), 0o644)?;
    }
    for page in files(&stage.pages())? {
        let place = format!("usr/share/man/man1/{}.gz", base(&page)?);
        put(&root.join(place), gzip(&page)?, 0o644)?;
    }
    let log = stage.place("changelog");
    put(&log, changelog(release)?, 0o644)?;
    put(&root.join(DOC).join("changelog.Debian.gz"), gzip(&log)?, 0o644)?;
    let news = run::root().join("CHANGELOG.md");
    put(&root.join(DOC).join("changelog.gz"), gzip(&news)?, 0o644)?;
    copy(&stage.bill(), &root.join(DOC).join("sbom.cdx.json"), 0o644)?;
    copy(&deploy.join("deb/copyright"), &root.join(DOC).join("copyright"), 0o644)?;
    for (from, to) in [
        ("deb/quipu.toml", "etc/quipu/quipu.toml".to_owned()),
        ("quipu.toml", format!("{DOC}/examples/quipu.toml")),
        ("systemd/quipu.service", "lib/systemd/system/quipu.service".to_owned()),
        ("systemd/quipu.sysusers", "usr/lib/sysusers.d/quipu.conf".to_owned()),
    ] {
        copy(&deploy.join(from), &root.join(to), 0o644)?;
    }
    Ok(())
}

/// What dpkg is told.
fn control(release: &Release, root: &Path) -> Result<()> {
    let deploy = run::root().join("deploy/deb");
    let debian = root.join("DEBIAN");
    let sums = sums(root)?;
    let size = output(Command::new("du").args(["--apparent-size", "-sk"]).arg(root))?;
    let size = size.split_whitespace().next().context("du says a size")?;
    let text = std::fs::read_to_string(deploy.join("control"))?
        .replace("@VERSION@", &format!("{}-1", release.version))
        .replace("@ARCHITECTURE@", &release.architecture)
        .replace("@SIZE@", size)
        .replace("@LIBRARIES@", &libraries(root)?);
    put(&debian.join("control"), text, 0o644)?;
    put(&debian.join("md5sums"), sums, 0o644)?;
    copy(&deploy.join("conffiles"), &debian.join("conffiles"), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        copy(&deploy.join(script), &debian.join(script), 0o755)?;
    }
    Ok(())
}

/// The packages of the libraries that the binary is linked with, each with the least version.
fn libraries(root: &Path) -> Result<String> {
    let scratch = root.with_extension("shlibs");
    put(
        &scratch.join("debian/control"),
        "Source: quipu\n\nPackage: quipu\nArchitecture: any\n",
        0o644,
    )?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.arg("-O").arg(root.join("usr/bin/quipu")).current_dir(&scratch);
    let said = output(&mut ask)?;
    let list = said.strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps names packages")?;
    Ok(list.to_owned())
}

/// What `dpkg --verify` compares with; settings are the operator's.
fn sums(root: &Path) -> Result<String> {
    let script = "find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    Ok(output(Command::new("sh").args(["-c", script]).current_dir(root))? + "\n")
}

/// Debian's own changelog is about the package; what is new is in the other one.
fn changelog(release: &Release) -> Result<String> {
    let mut date = Command::new("date");
    let date = output(date.args(["-u", "-R", "-d"]).arg(format!("@{}", release.date)))?;
    Ok(format!(
        "quipu ({}-1) stable; urgency=medium\n\n  * Release {}. What is new: changelog.gz.\n\n \
         -- Quipu maintainers <maintainers@quipu.example>  {date}\n",
        release.version, release.version
    ))
}

/// Without name and time, so that the same text is the same bytes.
fn gzip(path: &Path) -> Result<Vec<u8>> {
    let packed = Command::new("gzip").args(["-9", "-n", "--stdout"]).arg(path).output()?;
    anyhow::ensure!(packed.status.success(), "gzip {}: {}", path.display(), packed.status);
    Ok(packed.stdout)
}
