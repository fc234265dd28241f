//! SIGSTOP for longer than an election takes: the process wakes and does not know it was away.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

/// SIGSTOP, and SIGCONT at the end.
#[derive(Debug)]
pub(super) struct Pause {
    is_leader: bool,
    paused: Option<u64>,
}

impl Pause {
    pub(super) const fn one() -> Self {
        Self { is_leader: false, paused: None }
    }

    pub(super) const fn leader() -> Self {
        Self { is_leader: true, paused: None }
    }
}

impl Fault for Pause {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = if self.is_leader { world.leader()? } else { world.any()? };
            world.cluster.node(node)?.pause().await?;
            self.paused = Some(node);
            Ok(Hit::out(&[node], true, format!("paused {node}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.paused else { return Ok(()) };
            world.cluster.node(node)?.resume()
        }
        .boxed()
    }
}
