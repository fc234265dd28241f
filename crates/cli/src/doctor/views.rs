//! The cluster as each of its nodes sees it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quipu_client::{Admin, ClusterDescription, NodeDescription, NodeId};

/// How long a node may take to answer.
pub(crate) const NODE_WAIT: Duration = Duration::from_secs(4);
/// How long it may take until any does.
pub(crate) const CLUSTER_WAIT: Duration = Duration::from_secs(8);

/// What one node says.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) cluster: ClusterDescription,
    /// How far its clock is ahead of this machine's, by half of `round_trip` either way.
    pub(crate) clock_ahead_ms: i64,
    pub(crate) round_trip: Duration,
}

/// What all say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Views {
    /// By node.
    pub(crate) answers: BTreeMap<u64, View>,
    /// Nodes that did not answer, and why.
    pub(crate) silent: BTreeMap<u64, String>,
}

impl Views {
    /// Asks every node that the first to answer knows of.
    ///
    /// # Errors
    /// When none answers.
    pub(crate) async fn collect(admin: &Admin) -> quipu_client::Result<Self> {
        let known = admin.describe_cluster().await?;
        let asked = known.nodes.iter().map(|node| ask(admin, node.node_id));
        let mut views = Self::default();
        for (node, answer) in futures::future::join_all(asked).await {
            match answer {
                Ok(view) => drop(views.answers.insert(node, view)),
                Err(reason) => drop(views.silent.insert(node, reason)),
            }
        }
        if views.answers.is_empty() {
            // It answered just now: let its word stand.
            let view = View { cluster: known, clock_ahead_ms: 0, round_trip: Duration::ZERO };
            views.silent.remove(&view.cluster.answering_node);
            views.answers.insert(view.cluster.answering_node, view);
        }
        Ok(views)
    }

    /// Every node, as the one with the newest word describes it.
    pub(crate) fn nodes(&self) -> Vec<&NodeDescription> {
        self.best().map(|cluster| cluster.nodes.iter().collect()).unwrap_or_default()
    }

    /// The word to take where all should say the same: the controller's, else the first's.
    pub(crate) fn best(&self) -> Option<&ClusterDescription> {
        let controller = self
            .answers
            .values()
            .find(|view| view.cluster.controller == Some(view.cluster.answering_node));
        controller.or_else(|| self.answers.values().next()).map(|view| &view.cluster)
    }

    /// Whether more of the nodes that answer hear a node than do not; itself counts.
    pub(crate) fn is_heard(&self, node: u64) -> bool {
        let words = self.answers.values();
        let words = words.filter_map(|view| {
            view.cluster.nodes.iter().find(|it| it.node_id == node).map(|it| it.is_alive)
        });
        let (yes, no): (Vec<bool>, Vec<bool>) = words.partition(|is_alive| *is_alive);
        yes.len() > no.len()
    }

    /// How far the leader of each shard has committed, as it says itself.
    pub(crate) fn committed(&self) -> BTreeMap<u32, u64> {
        let led = self.answers.iter().flat_map(|(node, view)| {
            let led = view.cluster.shards.iter().filter(|shard| shard.leader == Some(*node));
            led.filter_map(|shard| Some((shard.shard, shard.committed_index?)))
        });
        let mut committed = BTreeMap::new();
        for (shard, index) in led {
            let newest: &mut u64 = committed.entry(shard).or_default();
            *newest = index.max(*newest);
        }
        committed
    }

    /// Shards of which a node's replica has not come as far as this, with the entries it lacks.
    /// `None`: the node does not answer.
    pub(crate) fn behind(
        &self,
        node: u64,
        committed: &BTreeMap<u32, u64>,
    ) -> Option<BTreeMap<u32, u64>> {
        let cluster = &self.answers.get(&node)?.cluster;
        let held = cluster.shards.iter().filter(|shard| shard.replicas.contains(&node));
        let behind = held.filter_map(|shard| {
            let target = committed.get(&shard.shard)?;
            let lacks = target.saturating_sub(shard.committed_index.unwrap_or(0));
            (lacks > 0).then_some((shard.shard, lacks))
        });
        Some(behind.collect())
    }
}

async fn ask(admin: &Admin, node: u64) -> (u64, Result<View, String>) {
    let begun = now();
    let wall_before = wall_ms();
    let asked = admin.describe_cluster_at(NodeId::new(node));
    let answer = match tokio::time::timeout(NODE_WAIT, asked).await {
        Ok(Ok(cluster)) => {
            let round_trip = begun.elapsed();
            let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
            let clock_ahead_ms = cluster.wall_ms.saturating_sub(wall_before.saturating_add(half));
            Ok(View { cluster, clock_ahead_ms, round_trip })
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {NODE_WAIT:?}")),
    };
    (node, answer)
}

#[expect(clippy::disallowed_methods, reason = "clocks are compared in real time")]
fn now() -> Instant {
    Instant::now()
}

/// This machine's clock, milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::samples;

    #[test]
    fn a_leader_says_how_far_its_shard_is() {
        let mut views = samples::views(3);
        samples::set_committed(&mut views, 1, 1, 50);
        samples::set_committed(&mut views, 2, 1, 40);
        let committed = views.committed();
        assert_eq!(committed[&1], 50, "node 1 leads it");
        assert_eq!(views.behind(1, &committed), Some(BTreeMap::new()));
        assert_eq!(views.behind(2, &committed), Some(BTreeMap::from([(1, 10)])));
        assert_eq!(views.behind(9, &committed), None);
    }

    #[test]
    fn most_words_count() {
        let mut views = samples::views(3);
        assert!(views.is_heard(2));
        samples::deafen(&mut views, 1, 2);
        assert!(views.is_heard(2), "two of three hear it");
        samples::deafen(&mut views, 3, 2);
        assert!(!views.is_heard(2));
    }
}
