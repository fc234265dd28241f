//! Packets between nodes are late, overtake each other, or carry a flipped bit under a checksum
//! that fits: TCP hands it on, and only what checks its own bytes can notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_runtime::Rng;
use quipu_testkit::until;

use super::{Fault, Hit, World};
use crate::cluster::{Packets, Treatment};

/// How long it may take until the first packet is hit.
const BITE_WAIT: Duration = Duration::from_secs(3);

/// Packets that are treated on their way to other nodes.
#[derive(Debug)]
pub(super) struct Wire {
    treatment: Treatment,
    treated: Vec<(u64, Packets)>,
}

impl Wire {
    pub(super) const fn of(treatment: Treatment) -> Self {
        Self { treatment, treated: Vec::new() }
    }
}

impl Fault for Wire {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let (nodes, what) = match self.treatment {
                Treatment::Delay => (world.all(), "are late"),
                Treatment::Reorder => (world.all(), "overtake each other"),
                // What one node says is spoiled: the others must not believe it.
                Treatment::Spoil => (vec![world.leader()?], "carry flipped bits"),
            };
            for node in &nodes {
                let rng = Rng::seeded(world.rng.next_u64());
                let packets = world.lab()?.treat(*node, self.treatment, rng)?;
                self.treated.push((*node, packets));
            }
            let bites = until("packets to be hit", BITE_WAIT, || async {
                let hit = self.treated.iter().map(|(_, packets)| packets.treated()).sum::<u64>();
                ensure!(hit > 0, "none");
                Ok(())
            });
            let bit = bites.await.is_ok();
            Ok(Hit::hindered(&nodes, bit, format!("packets from {nodes:?} to other nodes {what}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let lab = world.lab()?;
            let mended = self.treated.drain(..).map(|(node, packets)| lab.untreat(node, packets));
            mended.collect::<Vec<_>>().into_iter().collect()
        }
        .boxed()
    }
}
