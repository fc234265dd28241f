//! Power loss: the process dies, and everything that its disk was not made to flush is gone.

use std::path::PathBuf;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};

/// Power loss of one node, or of all at once.
#[derive(Debug)]
pub(super) struct PowerLoss {
    is_all: bool,
    /// Nodes, and what their disks held at that moment.
    hit: Vec<(u64, PathBuf)>,
}

impl PowerLoss {
    pub(super) const fn one() -> Self {
        Self { is_all: false, hit: Vec::new() }
    }

    pub(super) const fn all() -> Self {
        Self { is_all: true, hit: Vec::new() }
    }
}

impl Fault for PowerLoss {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let nodes = if self.is_all { world.all() } else { vec![world.any()?] };
            kill_at_once(&nodes, world).await?;
            for node in &nodes {
                self.hit.push((*node, world.cluster.node(*node)?.disk().copy()?));
            }
            Ok(Hit::out(&nodes, true, format!("power loss of {nodes:?}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            for (node, copy) in &self.hit {
                world.cluster.node(*node)?.disk().replace(copy)?;
            }
            let nodes: Vec<u64> = self.hit.iter().map(|(node, _)| *node).collect();
            start_again(&nodes, world)
        }
        .boxed()
    }
}
