//! An operator's restart: one node after the other is asked to stop, and started again.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

/// How long a node may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// A restart of all nodes, one at a time; each serves again before the next stops.
#[derive(Debug)]
pub(super) struct Rolling;

impl Fault for Rolling {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let nodes = world.all();
            for id in &nodes {
                let node = world.cluster.node(*id)?;
                if node.runs() {
                    node.terminate(STOP_WAIT).await?;
                }
                node.start()?;
                world.cluster.wait_ready().await?;
            }
            Ok(Hit::hindered(&nodes, true, format!("restarted {nodes:?} one by one")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, _world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}
