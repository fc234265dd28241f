//! `quipu serve`: runs a node.

use crate::args::ServeArgs;
use crate::config;

/// Runs until a signal or a fatal error ends the node.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    quipu_server::run(config::parse(args)?)
}
