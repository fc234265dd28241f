//! A node starts on an empty disk. It forgot its votes and what it acknowledged: under its old name
//! it must not take part.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};

/// How long a node may take to find out that it is not welcome.
const REFUSE_WAIT: Duration = Duration::from_secs(15);
/// The empty directory, beside the node's.
const EMPTY: &str = "empty";

/// An empty disk; the right one comes back at the end.
#[derive(Debug, Default)]
pub(super) struct Wiped {
    hit: Option<u64>,
}

impl Fault for Wiped {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            kill_at_once(&[node], world).await?;
            self.hit = Some(node);
            let process = world.cluster.node(node)?;
            let empty = process.disk().dir().join(EMPTY);
            process.start_on(&empty)?;
            world.must_refuse(node, "an empty disk", REFUSE_WAIT).await?;
            Ok(Hit::out(&[node], true, format!("{node} was started on an empty disk")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            let process = world.cluster.node(node)?;
            if process.runs() {
                process.kill()?;
            }
            let empty = process.disk().dir().join(EMPTY);
            std::fs::remove_dir_all(empty).context("remove the empty disk")?;
            start_again(&[node], world)
        }
        .boxed()
    }
}
