//! A disk that takes long to flush.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};
use crate::cluster::{Operation, Trouble};

/// How much longer a flush takes, at least and at most.
const DELAY_MS: (u64, u64) = (50, 400);

/// A slow disk.
#[derive(Debug, Default)]
pub(super) struct SlowDisk {
    hit: Option<u64>,
}

impl Fault for SlowDisk {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.leader()?;
            self.hit = Some(node);
            let (least, most) = DELAY_MS;
            let delay = Duration::from_millis(least + world.rng.below(most - least));
            let trouble = Trouble { operation: Operation::Flush, class: None, delay: Some(delay) };
            let layer = world.cluster.node(node)?.disk().layer()?;
            layer.trouble(Some(trouble));
            // Under load a node flushes many times a second.
            tokio::time::sleep(delay * 4).await;
            let bit = layer.struck() > 0;
            let words = format!("a flush takes {} ms longer on {node}", delay.as_millis());
            Ok(Hit::hindered(&[node], bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            world.cluster.node(node)?.disk().layer()?.trouble(None);
            Ok(())
        }
        .boxed()
    }
}
