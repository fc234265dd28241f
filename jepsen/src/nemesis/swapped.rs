//! Two nodes start on each other's disks. Neither may: it would speak with another's promises.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};

/// How long a node may take to look whose disk it has.
const REFUSE_WAIT: Duration = Duration::from_secs(10);

/// Two disks in each other's place; they go back at the end.
#[derive(Debug, Default)]
pub(super) struct Swapped {
    hit: Vec<u64>,
}

impl Fault for Swapped {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let one = world.any()?;
            let others: Vec<u64> = world.all().into_iter().filter(|node| *node != one).collect();
            let place = usize::try_from(world.rng.below(u64::try_from(others.len())?))?;
            let two = *others.get(place).context("another node")?;
            kill_at_once(&[one, two], world).await?;
            self.hit = vec![one, two];
            for (node, other) in [(one, two), (two, one)] {
                let data = world.cluster.node(other)?.data();
                world.cluster.node(node)?.start_on(&data)?;
                world.must_refuse(node, &format!("the disk of {other}"), REFUSE_WAIT).await?;
            }
            Ok(Hit::out(&self.hit, true, format!("{one} and {two} had each other's disks")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            for node in &self.hit {
                let process = world.cluster.node(*node)?;
                if process.runs() {
                    process.kill()?;
                }
            }
            start_again(&self.hit, world)
        }
        .boxed()
    }
}
