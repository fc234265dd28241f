//! A wire that carries little: what a node sends waits in a queue of two seconds.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

/// What the wire carries.
const KBIT: u64 = 256;

/// A slow wire.
#[derive(Debug, Default)]
pub(super) struct Slow {
    hit: Option<u64>,
}

impl Fault for Slow {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            world.lab()?.throttle(node, Some(KBIT))?;
            self.hit = Some(node);
            Ok(Hit::hindered(&[node], true, format!("{node} sends {KBIT} kbit/s at most")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            world.lab()?.throttle(node, None)
        }
        .boxed()
    }
}
