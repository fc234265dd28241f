//! Pauses and a power loss in the order that split a log in two elsewhere: a minority stands still,
//! one of the others loses power and comes back, the minority wakes, and the rest stands still.
//!
//! What the one forgot must not make a majority with those who slept.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};

/// How long things stay as they are: longer than an election takes.
const STAY: Duration = Duration::from_secs(3);

/// Pauses around a power loss; the last to pause wake at the end.
#[derive(Debug, Default)]
pub(super) struct PartKill {
    paused: Vec<u64>,
}

impl Fault for PartKill {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let nodes = world.all();
            let killed = world.leader()?;
            let mut others: Vec<u64> = nodes.iter().copied().filter(|it| *it != killed).collect();
            let place = usize::try_from(world.rng.below(u64::try_from(others.len())?))?;
            others.rotate_left(place);
            let (first, last) = others.split_at(nodes.len().div_ceil(2) - 1);
            self.pause(first, world).await?;
            tokio::time::sleep(STAY).await;
            kill_at_once(&[killed], world).await?;
            let disk = world.cluster.node(killed)?.disk();
            let copy = disk.copy().context("note what is flushed")?;
            disk.replace(&copy)?;
            start_again(&[killed], world)?;
            self.resume(world)?;
            self.pause(last, world).await?;
            tokio::time::sleep(STAY).await;
            let words =
                format!("paused {first:?}, power loss of {killed}, paused {last:?} instead");
            Ok(Hit::out(&nodes, true, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            self.resume(world)?;
            let nodes = world.all();
            start_again(&nodes, world)
        }
        .boxed()
    }
}

impl PartKill {
    async fn pause(&mut self, nodes: &[u64], world: &mut World<'_>) -> Result<()> {
        for node in nodes {
            world.cluster.node(*node)?.pause().await?;
            self.paused.push(*node);
        }
        Ok(())
    }

    fn resume(&mut self, world: &mut World<'_>) -> Result<()> {
        self.paused.drain(..).try_for_each(|node| world.cluster.node(node)?.resume())
    }
}
