//! A process that can open no more files: new connections and new segments fail.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World, kill};
use crate::cluster::FileLimit;

/// Files it may open beyond those it has.
const SPARE: u64 = 2;

/// No more files; the node is started again if it ended.
#[derive(Debug, Default)]
pub(super) struct Files {
    hit: Option<(u64, u32, u64)>,
}

impl Fault for Files {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            let process = world.cluster.node(node)?;
            let before = process.limit_files(FileLimit::Spare(SPARE))?;
            self.hit = process.pid().map(|pid| (node, pid, before));
            let words = format!("{node} may open {SPARE} more files");
            Ok(Hit::out(&[node], true, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some((node, pid, before)) = self.hit else { return Ok(()) };
            let process = world.cluster.node(node)?;
            if process.has_died() || !process.runs() {
                return kill::start_again(&[node], world);
            }
            // A process that was started meanwhile has the old limit.
            if process.pid() == Some(pid) {
                process.limit_files(FileLimit::Exactly(before))?;
            }
            Ok(())
        }
        .boxed()
    }
}
