//! A process that gets no more memory. It may end; it must not lose anything.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World, kill};

/// What it may take beyond what it has.
const SPARE_BYTES: u64 = 1 << 20;

/// No more memory; the node is started again if it ended.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hit: Option<(u64, u32)>,
}

impl Fault for Memory {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.leader()?;
            let process = world.cluster.node(node)?;
            let bit = process.limit_memory(Some(SPARE_BYTES))?;
            self.hit = process.pid().map(|pid| (node, pid));
            let words = format!("{node} gets {} KiB of memory more at most", SPARE_BYTES >> 10);
            Ok(Hit::out(&[node], bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some((node, pid)) = self.hit else { return Ok(()) };
            let process = world.cluster.node(node)?;
            if process.has_died() {
                world.note_end(node)?;
            }
            let process = world.cluster.node(node)?;
            if !process.runs() {
                return kill::start_again(&[node], world);
            }
            // A process that was started meanwhile has no limit.
            if process.pid() == Some(pid) {
                process.limit_memory(None)?;
            }
            Ok(())
        }
        .boxed()
    }
}
