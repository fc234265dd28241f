//! Packets that reach a node are lost by chance.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

/// The share that is lost: TCP goes on, slowly and unevenly.
const PERCENT: u64 = 20;

/// A lossy wire.
#[derive(Debug, Default)]
pub(super) struct Loss {
    hit: Option<u64>,
}

impl Fault for Loss {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            world.lab()?.lose(node, Some(PERCENT))?;
            self.hit = Some(node);
            Ok(Hit::hindered(&[node], true, format!("{node} loses {PERCENT} % of what it is sent")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            world.lab()?.lose(node, None)
        }
        .boxed()
    }
}
