//! Packets between nodes arrive twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_testkit::until;

use super::{Fault, Hit, World};

/// The share that arrives twice.
const PERCENT: u64 = 30;
/// How long it may take until the first packet is hit.
const BITE_WAIT: Duration = Duration::from_secs(3);

/// Packets that arrive twice.
#[derive(Debug, Default)]
pub(super) struct Duplicate {
    hit: Vec<u64>,
}

impl Fault for Duplicate {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            self.hit = world.all();
            let lab = world.lab()?;
            for node in &self.hit {
                lab.repeat(*node, Some(PERCENT))?;
            }
            let first = *self.hit.first().unwrap_or(&1);
            let bites = until("packets to be repeated", BITE_WAIT, || async {
                ensure!(lab.repeated(first)? > 0, "none");
                Ok(())
            });
            let bit = bites.await.is_ok();
            let words = format!("{PERCENT} % of the packets between nodes arrive twice");
            Ok(Hit::hindered(&self.hit, bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let lab = world.lab()?;
            let mended = self.hit.iter().map(|node| lab.repeat(*node, None));
            mended.collect::<Vec<_>>().into_iter().collect()
        }
        .boxed()
    }
}
