//! What a fault acts on, and whom it picks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use quipu_runtime::Rng;

use super::Remarks;
use crate::cluster::{Cluster, Lab};

/// What a fault acts on.
#[derive(Debug)]
pub(crate) struct World<'a> {
    /// The processes.
    pub(super) cluster: &'a mut Cluster,
    /// Nodes by the number of partitions under load that they lead, as was last heard.
    pub(super) leads: &'a BTreeMap<u64, usize>,
    /// Nodes that another fault keeps from their work.
    pub(super) out: &'a BTreeSet<u64>,
    /// Chance.
    pub(super) rng: Rng,
    /// What is to be said at the end.
    pub(super) remarks: &'a mut Remarks,
}

impl World<'_> {
    /// All nodes.
    pub(super) fn all(&self) -> Vec<u64> {
        self.cluster.ids()
    }

    /// A node that works.
    pub(super) fn any(&mut self) -> Result<u64> {
        let mut working = self.all();
        working.retain(|node| !self.out.contains(node));
        let count = u64::try_from(working.len())?;
        let place = usize::try_from(self.rng.below(count))?;
        working.get(place).copied().context("no node is left to be hit")
    }

    /// The node that leads most and works; any, when no leader is known.
    pub(super) fn leader(&mut self) -> Result<u64> {
        let working = self.leads.iter().filter(|(node, _)| !self.out.contains(node));
        match working.max_by_key(|(_, count)| **count) {
            Some((node, _)) => Ok(*node),
            None => self.any(),
        }
    }

    /// Notes how a node ended that was excused to.
    pub(super) fn note_end(&mut self, node: u64) -> Result<()> {
        let end = self.cluster.node(node)?.end();
        self.remarks.notes.push(format!("node {node} ended: {end}"));
        Ok(())
    }

    /// A node was started on something it must not run on: it must end by itself, and fail.
    pub(super) async fn must_refuse(
        &mut self,
        node: u64,
        what: &str,
        wait: Duration,
    ) -> Result<()> {
        let process = self.cluster.node(node)?;
        let has_ended = process.ends_within(wait).await;
        let has_failed = has_ended && process.ended.is_some_and(|status| !status.success());
        let end = process.end();
        if has_failed {
            self.remarks.notes.push(format!("node {node} refused {what}: {end}"));
        } else {
            let how = if has_ended { "ended well on" } else { "runs on" };
            self.remarks.deaths.push(format!("node {node} {how} {what}: {end}"));
        }
        Ok(())
    }

    /// The network.
    pub(super) fn lab(&self) -> Result<&Lab> {
        self.cluster.lab().context("the nodes have no network of their own")
    }
}

/// What a fault did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The nodes it hit.
    pub(super) nodes: Vec<u64>,
    /// It was seen to have taken effect.
    pub(super) bit: bool,
    /// Nodes that can take no part in a majority while it lasts.
    pub(super) out: BTreeSet<u64>,
    /// In words.
    pub(super) words: String,
}

impl Hit {
    /// Nodes that are kept from their work.
    pub(super) fn out(nodes: &[u64], bit: bool, words: String) -> Self {
        Self { nodes: nodes.to_vec(), bit, out: nodes.iter().copied().collect(), words }
    }

    /// Nodes that go on working, somehow.
    pub(super) fn hindered(nodes: &[u64], bit: bool, words: String) -> Self {
        Self { nodes: nodes.to_vec(), bit, out: BTreeSet::new(), words }
    }
}
