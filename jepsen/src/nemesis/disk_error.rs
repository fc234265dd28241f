//! The disk of a node refuses to flush, to write or to read. Who cannot flush must end at once: the
//! system may call bytes clean that never reached the disk.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_testkit::until;

use super::{Fault, Hit, World, kill};
use crate::cluster::{Class, Operation, Trouble};

/// How long it may take until the first operation fails.
const BITE_WAIT: Duration = Duration::from_secs(8);
/// How long a node may take to end that could not flush its journal.
const END_WAIT: Duration = Duration::from_secs(3);

/// A disk that answers EIO; the node is started again without at the end.
#[derive(Debug)]
pub(super) struct DiskError {
    operation: Operation,
    hit: Option<u64>,
}

impl DiskError {
    pub(super) const fn of(operation: Operation) -> Self {
        Self { operation, hit: None }
    }

    /// The files whose operations fail. A journal that cannot be flushed or written has one right
    /// answer; the others may be answered in many ways.
    fn class(&self, world: &mut World<'_>) -> Option<Class> {
        let journal = Some(Class::Journal);
        let of_flush = [journal, journal, Some(Class::Segments), None];
        let of_read = [Some(Class::Segments), Some(Class::Tables), None, None];
        let classes = if self.operation == Operation::Read { of_read } else { of_flush };
        classes[usize::try_from(world.rng.below(4)).unwrap_or_default()]
    }
}

impl Fault for DiskError {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let (node, class) = (world.leader()?, self.class(world));
            self.hit = Some(node);
            let (operation, delay) = (self.operation, None);
            let process = world.cluster.node(node)?;
            let layer = process.disk().layer()?;
            layer.trouble(Some(Trouble { operation, class, delay }));
            let bites = until("an operation to fail", BITE_WAIT, || async {
                ensure!(layer.struck() > 0, "none");
                Ok(())
            });
            let bit = bites.await.is_ok();
            let is_journal = class == Some(Class::Journal);
            let must_end = bit && is_journal && operation != Operation::Read;
            if must_end && process.ends_within(END_WAIT).await {
                world.note_end(node)?;
            } else if must_end {
                let words =
                    format!("node {node} went on after {operation:?} of its journal failed");
                world.remarks.deaths.push(words);
            }
            let files = class.map_or_else(|| "all".to_owned(), |class| format!("{class:?}"));
            Ok(Hit::out(&[node], bit, format!("{operation:?} fails on {node}, files: {files}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            let hit = world.cluster.node(node)?;
            hit.disk().layer()?.trouble(None);
            if hit.has_died() {
                world.note_end(node)?;
            }
            let hit = world.cluster.node(node)?;
            // It may be about to end: a new start makes its state certain.
            if hit.runs() {
                hit.kill()?;
            }
            kill::start_again(&[node], world)
        }
        .boxed()
    }
}
