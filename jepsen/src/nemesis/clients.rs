//! Answers of a node do not reach the clients, while requests of open connections still arrive:
//! what they do happens, and nobody is told.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};
use crate::cluster::CLIENTS;

/// A leader that clients do not hear.
#[derive(Debug, Default)]
pub(super) struct Clients {
    hit: Option<u64>,
}

impl Fault for Clients {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.leader()?;
            let lab = world.lab()?;
            lab.cut(node, CLIENTS)?;
            self.hit = Some(node);
            let bit = lab.is_cut(node, CLIENTS)?;
            Ok(Hit::hindered(&[node], bit, format!("clients do not hear {node}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            world.lab()?.mend(node, CLIENTS)
        }
        .boxed()
    }
}
