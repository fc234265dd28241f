//! `quipu serve`: runs a node.

use crate::args::ServeArgs;
use crate::{config, failpoints};

/// Runs until a signal or a fatal error ends the node.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = config::parse(args)?;
    failpoints::arm()?;
    quipu_server::run(config)
}
