//! The tutorial and the README do what they say: their commands are run, in order, in a shell, and
//! what they print is compared.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_runtime::free_ports;
use quipu_testkit::document::{self, Shown};
use tokio::process::{Child, Command};

/// A command ends by itself within this time.
const WAIT: Duration = Duration::from_secs(120);

/// Somebody who types what a document shows.
struct Reader {
    home: tempfile::TempDir,
    /// What goes on running: `quipu dev`, and whatever follows a topic.
    running: Vec<Child>,
}

impl Reader {
    fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        std::fs::create_dir(home.path().join("bin"))?;
        std::os::unix::fs::symlink(
            std::path::absolute(quipu_testkit::quipu_binary()?)?,
            home.path().join("bin/quipu"),
        )?;
        Ok(Self { home, running: Vec::new() })
    }

    fn shell(&self, line: &str) -> Result<Command> {
        let path = std::env::var("PATH").context("there is a PATH")?;
        let mut shell = Command::new("bash");
        shell.args(["-c", line]).current_dir(self.home.path()).env_clear();
        shell.env("PATH", format!("{}/bin:{path}", self.home.path().display()));
        shell.env("HOME", self.home.path()).kill_on_drop(true).stdin(Stdio::null());
        Ok(shell)
    }

    /// Types a command and compares what it prints.
    async fn follow(&mut self, shown: &Shown) -> Result<()> {
        let command = shown.command.split('#').next().unwrap_or_default().trim();
        if command == "quipu dev" {
            return self.start_node().await;
        }
        let output = tokio::time::timeout(WAIT, self.shell(&shown.command)?.output()).await;
        let output = output.with_context(|| format!("{} does not end", shown.command))??;
        let words = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let lines: Vec<String> = words.lines().map(str::to_owned).collect();
        // What a document says to be wrong may end as it likes.
        let is_refused = shown.output.iter().any(|line| line.starts_with("error:"));
        ensure!(output.status.success() != is_refused, "{}: {words}", shown.command);
        ensure!(
            shown.output.is_empty() || document::are_as_shown(&shown.output, &lines),
            "{}: shown:\n{}\nprinted:\n{words}",
            shown.command,
            shown.output.join("\n")
        );
        Ok(())
    }

    /// `quipu dev` goes on in another terminal; other tests have the usual ports.
    async fn start_node(&mut self) -> Result<()> {
        let ports = free_ports(3)?;
        let mut node = self.shell("exec quipu dev 2>node.log")?;
        for (name, place) in ["CLIENT", "PEER", "METRICS"].iter().zip(ports) {
            node.env(format!("QUIPU_LISTENERS__{name}"), place.to_string());
        }
        self.running.push(node.stdout(Stdio::null()).spawn()?);
        let log = self.home.path().join("node.log");
        // It writes down how it is reached after it says that it is ready.
        let contexts = self.home.path().join(".config/quipu/contexts.toml");
        quipu_testkit::until("the node", WAIT, async || {
            let said = std::fs::read_to_string(&log)?;
            ensure!(said.contains("ready in") && contexts.exists(), "it says {said:?}");
            Ok(())
        })
        .await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nodes of a local cluster live on without the shell that started them.
        if let Ok(binary) = quipu_testkit::quipu_binary() {
            let mut down = std::process::Command::new(binary);
            down.args(["local", "down", "--purge"]).current_dir(self.home.path());
            let _ = down.env("HOME", self.home.path()).output();
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands of a section of a document, or of all of it.
fn commands(path: &str, section: Option<&str>) -> Result<Vec<Shown>> {
    let text = std::fs::read_to_string(root().join(path))?;
    let part = match section {
        Some(title) => {
            let rest = text.split(title).nth(1).context("the section is there")?;
            rest.split("\n## ").next().unwrap_or_default()
        }
        None => &text,
    };
    let blocks = document::blocks(part).into_iter().filter(|it| it.language == "console");
    Ok(blocks.flat_map(|it| it.commands()).collect())
}

async fn follow(path: &str, section: Option<&str>, least: usize) -> Result<()> {
    let commands = commands(path, section)?;
    ensure!(commands.len() >= least, "only {} commands in {path}", commands.len());
    let mut reader = Reader::new()?;
    for shown in &commands {
        reader.follow(shown).await.with_context(|| format!("{path}: {}", shown.command))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_tutorial_does_what_it_says() -> Result<()> {
    follow("docs/tutorial.md", None, 15).await
}

#[tokio::test]
async fn the_readme_does_what_it_says() -> Result<()> {
    follow("README.md", Some("## Try it\n"), 9).await
}
