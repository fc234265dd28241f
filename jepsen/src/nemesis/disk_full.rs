//! No byte is free on a node's disk. The node may refuse, or end; it must not lose anything.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World, kill};

/// A full disk; the node is started again with space if it ended.
#[derive(Debug, Default)]
pub(super) struct DiskFull {
    hit: Option<u64>,
}

impl Fault for DiskFull {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            let disk = world.cluster.node(node)?.disk();
            self.hit = Some(node);
            let taken = disk.fill()?;
            let bit = disk.free()? < 4096;
            let words = format!("took the last {} MiB of {node}'s disk", taken >> 20);
            Ok(Hit::out(&[node], bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            let hit = world.cluster.node(node)?;
            hit.disk().clear()?;
            // It may be about to end: a new start makes its state certain.
            if hit.runs() {
                hit.kill()?;
            }
            kill::start_again(&[node], world)
        }
        .boxed()
    }
}
