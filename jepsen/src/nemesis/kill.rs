//! SIGKILL, and a new start some time later.

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

#[derive(Debug)]
enum Whom {
    One,
    Leader,
    All,
}

/// SIGKILL, and a new start at the end.
#[derive(Debug)]
pub(super) struct Kill {
    whom: Whom,
    killed: Vec<u64>,
}

impl Kill {
    pub(super) const fn one() -> Self {
        Self { whom: Whom::One, killed: Vec::new() }
    }

    pub(super) const fn leader() -> Self {
        Self { whom: Whom::Leader, killed: Vec::new() }
    }

    pub(super) const fn all() -> Self {
        Self { whom: Whom::All, killed: Vec::new() }
    }
}

impl Fault for Kill {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let nodes = match self.whom {
                Whom::One => vec![world.any()?],
                Whom::Leader => vec![world.leader()?],
                Whom::All => world.all(),
            };
            kill_at_once(&nodes, world).await?;
            self.killed.clone_from(&nodes);
            Ok(Hit::out(&nodes, true, format!("killed {nodes:?}")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move { start_again(&self.killed, world) }.boxed()
    }
}

/// Stops all first, so that none sees another die.
pub(super) async fn kill_at_once(nodes: &[u64], world: &mut World<'_>) -> Result<()> {
    for node in nodes {
        let node = world.cluster.node(*node)?;
        if node.runs() {
            node.pause().await?;
        }
    }
    for node in nodes {
        let node = world.cluster.node(*node)?;
        if node.runs() {
            node.kill()?;
        }
    }
    Ok(())
}

pub(super) fn start_again(nodes: &[u64], world: &mut World<'_>) -> Result<()> {
    for node in nodes {
        let node = world.cluster.node(*node)?;
        if !node.runs() {
            node.start()?;
        }
    }
    Ok(())
}
