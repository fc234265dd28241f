//! `quipu dev`: one node for development.

use std::path::PathBuf;

use quipu_server::config::{Config, Layers};

use crate::args::DevArgs;
use crate::exit::{Failure, USAGE};
use crate::{context, failpoints, output};

/// Runs a node with temporary data until interrupted.
pub(crate) fn run(args: &DevArgs) -> anyhow::Result<()> {
    failpoints::arm()?;
    let scratch = Scratch::new(args)?;
    let data = format!("node.data-dir={}", scratch.dir.display());
    let own = [data.as_str(), "node.id=1", "log.filter=warn,openraft=error"];
    let config = Layers::defaults()
        .environment(std::env::vars())
        .and_then(|layers| layers.flags(own))
        .and_then(|layers| layers.flags(args.set.iter().map(String::as_str)))
        .and_then(|layers| Config::from_layers(&layers))
        .map_err(|error| Failure::with_code(USAGE, error.to_string()))?;
    let servers = config.listeners.client_advertise.clone();
    let metrics = config.listeners.metrics;
    let kept = scratch.describe();
    quipu_server::run_until_ready(config, move |elapsed| {
        output::note(&format!(
            "ready in {:.1}s   clients {servers}   metrics http://{metrics}/metrics   data: {kept}\n\
             try:  quipu pub fees '{{\"amount\":120}}' --create\n      quipu sub fees --from start",
            elapsed.as_secs_f64(),
        ));
        if let Err(error) = context::remember("dev", &servers) {
            output::note(&format!("the context was not saved: {error:#}"));
        }
    })
}

/// The data directory, removed at exit unless it is to be kept.
struct Scratch {
    dir: PathBuf,
    is_kept: bool,
}

impl Scratch {
    fn new(args: &DevArgs) -> anyhow::Result<Self> {
        if let Some(dir) = &args.keep {
            return Ok(Self { dir: std::path::absolute(dir)?, is_kept: true });
        }
        let name = format!("quipu-dev-{}", uuid::Uuid::now_v7());
        Ok(Self { dir: std::env::temp_dir().join(name), is_kept: false })
    }

    fn describe(&self) -> String {
        if self.is_kept {
            format!("kept in {}", self.dir.display())
        } else {
            "temporary, gone at exit".to_owned()
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing else is in it; a failure leaves files in the temporary directory.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
