//! The process dies, and what it did not flush is lost: all of it, or blocks by chance.
//!
//! Stricter than a power loss of the file system: a name without a flush of its directory is lost
//! too, and writes are not kept in their order.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};
use crate::cluster::Loss;

/// A loss of writes at one node, or at all at once.
#[derive(Debug)]
pub(super) struct LostWrites {
    is_all: bool,
    is_torn: bool,
    killed: Vec<u64>,
}

impl LostWrites {
    pub(super) const fn whole(is_all: bool) -> Self {
        Self { is_all, is_torn: false, killed: Vec::new() }
    }

    pub(super) const fn torn(is_all: bool) -> Self {
        Self { is_all, is_torn: true, killed: Vec::new() }
    }
}

impl Fault for LostWrites {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let nodes = if self.is_all { world.all() } else { vec![world.leader()?] };
            kill_at_once(&nodes, world).await?;
            self.killed.clone_from(&nodes);
            let mut words = Vec::new();
            for node in &nodes {
                let layer = world.cluster.node(*node)?.disk().layer()?;
                let loss = if self.is_torn { Loss::Some(&mut world.rng) } else { Loss::All };
                let lost = layer.lose(loss)?;
                words.push(format!(
                    "{node} lost {} blocks of {} and {} names",
                    lost.blocks,
                    lost.blocks + lost.kept,
                    lost.names
                ));
            }
            Ok(Hit::out(&nodes, true, words.join(", ")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move { start_again(&self.killed, world) }.boxed()
    }
}
