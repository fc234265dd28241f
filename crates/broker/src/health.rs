//! Whether this node and the cluster are well, with the reasons why not.

use std::collections::BTreeMap;

use quipu_consensus::{Full, PeerStatus, Role};
use quipu_metadata::Image;
use quipu_partition::PartitionHandle;
use quipu_types::{NodeId, ShardId, TimestampMs, TopicId};

use crate::metrics::{Census, TopicCensus};
use crate::{Broker, metrics};

/// Before the first shards are made.
const NO_SHARDS: &str = "the cluster has no shards yet: not all of its nodes have registered";

/// What the health of the cluster is judged by; gathered by this node, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Nodes that do not answer this one, with their addresses.
    pub(crate) down: BTreeMap<NodeId, String>,
    /// Nodes that formed the cluster and did not register since.
    pub(crate) unregistered: Vec<NodeId>,
    /// Who turns whom away, one sentence each.
    pub(crate) rejections: Vec<String>,
    /// Shards by id.
    pub(crate) shards: BTreeMap<ShardId, ShardSurvey>,
    /// Whether the metadata group has a leader.
    pub(crate) has_controller: bool,
    /// Whether this node is registered.
    pub(crate) is_registered: bool,
    /// Nodes that lost their replicas, with how many are still to take the places of those.
    pub(crate) rebuilding: BTreeMap<NodeId, usize>,
    /// Shards this node could not open, with the reason.
    pub(crate) unopened: BTreeMap<ShardId, String>,
    /// Why this node takes no writes, if it takes none.
    pub(crate) full: Option<Full>,
    /// What is damaged here and could not be mended, one sentence each.
    pub(crate) damages: Vec<String>,
}

/// One shard of a survey.
#[derive(Debug, Default)]
pub(crate) struct ShardSurvey {
    pub(crate) has_leader: bool,
    pub(crate) partitions: usize,
    pub(crate) replicas: Vec<NodeId>,
    /// Followers that its leader, when it is this node, has heard nothing of.
    pub(crate) silent: Vec<NodeId>,
}

impl Survey {
    /// Partitions of shards without a leader.
    pub(crate) fn leaderless_partitions(&self) -> usize {
        self.shards.values().filter(|shard| !shard.has_leader).map(|shard| shard.partitions).sum()
    }

    /// Partitions of shards with a replica that does not answer.
    pub(crate) fn under_replicated_partitions(&self) -> usize {
        let is_short = |shard: &&ShardSurvey| {
            !shard.silent.is_empty()
                || shard.replicas.iter().any(|node| self.down.contains_key(node))
        };
        self.shards.values().filter(is_short).map(|shard| shard.partitions).sum()
    }

    /// Those of them that the next failure takes the majority from, or that have none.
    pub(crate) fn at_risk_partitions(&self) -> usize {
        let is_at_risk = |shard: &&ShardSurvey| {
            let (replicas, missing) = (shard.replicas.len(), self.missing(shard));
            missing > 0 && replicas.saturating_sub(missing) <= replicas / 2 + 1
        };
        self.shards.values().filter(is_at_risk).map(|shard| shard.partitions).sum()
    }

    /// Replicas of a shard that do not answer.
    fn missing(&self, shard: &ShardSurvey) -> usize {
        let is_missing =
            |node: NodeId| self.down.contains_key(&node) || shard.silent.contains(&node);
        shard.replicas.iter().filter(|node| is_missing(**node)).count()
    }

    /// Everything that is not well, one sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.has_controller {
            problems.push("the metadata group has no leader: topics cannot be changed".to_owned());
        }
        if !self.is_registered {
            problems.push("this node is not registered in the cluster yet".to_owned());
        }
        if self.shards.is_empty() {
            problems.push(NO_SHARDS.to_owned());
        }
        for node in &self.unregistered {
            problems.push(format!("node {node}, one of the first nodes, has not registered yet"));
        }
        for (node, address) in &self.down {
            problems.push(format!("node {node} ({address}) does not answer"));
        }
        problems.extend(self.rejections.iter().cloned());
        for (id, shard) in self.shards.iter().filter(|(_, shard)| !shard.has_leader) {
            problems.push(match shard.partitions {
                0 => format!("shard {id} has no leader"),
                1 => format!("shard {id} has no leader: 1 partition is not served"),
                count => format!("shard {id} has no leader: {count} partitions are not served"),
            });
        }
        match self.under_replicated_partitions() {
            0 => {}
            1 => problems.push("1 partition has fewer replicas than it should".to_owned()),
            count => {
                problems.push(format!("{count} partitions have fewer replicas than they should"))
            }
        }
        for (node, left) in &self.rebuilding {
            problems.push(format!(
                "node {node} lost its journal and is being rebuilt: {left} of its replicas are \
                 still to take the places of those it lost"
            ));
        }
        problems.extend(self.own_problems());
        problems
    }

    /// What keeps this node from its work.
    fn own_problems(&self) -> Vec<String> {
        let unopened = self
            .unopened
            .iter()
            .map(|(shard, reason)| format!("shard {shard} cannot be opened here: {reason}"));
        let full = self.full.map(|Full { free, required }| {
            format!("this node takes no writes: {free} bytes are free, {required} are required")
        });
        unopened.chain(full).chain(self.damages.iter().cloned()).collect()
    }
}

impl Broker {
    /// Looks around.
    pub(crate) fn survey(&self, image: &Image) -> Survey {
        let consensus = &self.inner.consensus;
        let own = self.inner.node;
        let down =
            image.nodes.iter().filter(|(node, _)| **node != own && !consensus.is_alive(**node));
        let peers = consensus.peers().into_iter();
        let peers = peers.filter(|peer| !image.removed.contains_key(&peer.node));
        let turned_away = |peer: PeerStatus| {
            let by = peer
                .rejected_by
                .map(|why| format!("node {} turns this node away: {why}", peer.node));
            // Of one that is heard it is an old story, or one of its calls came too early.
            let own = peer.rejected.filter(|_| !consensus.is_alive(peer.node));
            by.or_else(|| Some(format!("this node turns node {} away: {}", peer.node, own?)))
        };
        let is_known =
            |node: &NodeId| image.nodes.contains_key(node) || image.removed.contains_key(node);
        let unregistered = image.founders.keys().filter(|node| !is_known(node));
        let shards = image.shards.keys().filter(|shard| **shard != ShardId::METADATA);
        Survey {
            down: down.map(|(node, record)| (*node, record.address_peer.clone())).collect(),
            unregistered: unregistered.copied().collect(),
            rejections: peers.filter_map(turned_away).collect(),
            shards: shards.map(|shard| (*shard, self.survey_shard(image, *shard))).collect(),
            has_controller: self.leader_of(ShardId::METADATA).is_some(),
            is_registered: image.nodes.contains_key(&own),
            rebuilding: self.inner.metadata.rebuilding(),
            unopened: self.inner.hosting.failures(),
            full: self.inner.consensus.disk().full(),
            damages: self.inner.damages.unmended(),
        }
    }

    fn survey_shard(&self, image: &Image, shard: ShardId) -> ShardSurvey {
        let group = self.inner.consensus.group(shard).filter(|group| group.leadership().is_some());
        let silent = group.map(|group| group.replication()).unwrap_or_default();
        let silent = silent
            .into_iter()
            .filter(|(_, node, matched)| matched.is_none() && *node != self.inner.node);
        ShardSurvey {
            has_leader: self.leader_of(shard).is_some(),
            partitions: image.partition_count(shard),
            replicas: Self::replica_nodes(image, shard),
            silent: silent.map(|(_, node, _)| node).collect(),
        }
    }

    /// What is wrong with the cluster as this node sees it, one sentence each.
    #[must_use]
    pub fn cluster_problems(&self) -> Vec<String> {
        self.survey(&self.image()).problems()
    }

    /// Why this node should get no clients at the moment, one sentence each.
    ///
    /// Other nodes' troubles are not among them: a probe must not take this node away because of
    /// those.
    #[must_use]
    pub fn ready_problems(&self) -> Vec<String> {
        let mut problems = self.started_problems();
        if problems.is_empty() {
            problems = self.inner.catching_up.problems();
        }
        if self.is_stopping() {
            problems.push("this node is shutting down".to_owned());
        }
        for shard in self.inner.shards.all() {
            if shard.group().status().borrow().role == Role::Stopped {
                problems.push(format!("the group of shard {} has stopped", shard.id()));
            }
        }
        for (shard, reason) in self.inner.hosting.failures() {
            problems.push(format!("shard {shard} cannot be opened here: {reason}"));
        }
        problems
    }

    /// Why the start is not over, one sentence each: shards are still being opened.
    #[must_use]
    pub fn started_problems(&self) -> Vec<String> {
        let image = self.image();
        let mut problems = Vec::new();
        if !image.nodes.contains_key(&self.inner.node) {
            problems.push("this node is not registered in the cluster yet".to_owned());
        }
        if image.shards.is_empty() {
            problems.push(NO_SHARDS.to_owned());
        }
        for (shard, record) in &image.shards {
            let is_here = record.replica_on(self.inner.node).is_some();
            if is_here && *shard != ShardId::METADATA && self.inner.shards.get(*shard).is_none() {
                problems.push(format!("shard {shard} is not open yet"));
            }
        }
        problems
    }

    /// Why the process is past saving, if it is: it is about to end by itself.
    #[must_use]
    pub fn live_problems(&self) -> Vec<String> {
        self.inner.tasks.fatal().reason().into_iter().collect()
    }

    /// Sets the gauges that nobody pushes; call before a scrape.
    pub async fn refresh_metrics(&self) {
        let image = self.image();
        let survey = self.survey(&image);
        let shards = self.inner.shards.all();
        let census = Census {
            leaderless: survey.leaderless_partitions(),
            under_replicated: survey.under_replicated_partitions(),
            at_risk: survey.at_risk_partitions(),
            nodes_down: survey.down.len(),
            topics: image.topics.len(),
            partitions: survey.shards.values().map(|shard| shard.partitions).sum(),
            partitions_moving: image.partitions_moving(),
            shards_led: shards.iter().filter(|shard| shard.is_ready_leader()).count(),
            shards_open: shards.len(),
            is_storage_full: survey.full.is_some(),
        };
        census.publish();
        self.refresh_topics(&image).await;
        let groups = self.inner.consensus.groups();
        let roles: Vec<Role> = groups.iter().map(|group| group.status().borrow().role).collect();
        metrics::raft_groups(&roles);
    }

    /// A page of metrics without the series of what is gone, or is measured by another node now.
    #[must_use]
    pub fn without_gone_series(&self, page: &str) -> String {
        metrics::without_gone(page, &self.image(), self.inner.metrics.groups())
    }

    async fn refresh_topics(&self, image: &Image) {
        let led = self.led_partitions();
        let mut sizes: BTreeMap<TopicId, u64> = BTreeMap::new();
        for handle in &led {
            *sizes.entry(handle.id().topic).or_default() += handle.size_bytes();
        }
        let written = self.inner.oldest.look(led, self.inner.clock.monotonic()).await;
        let mut oldest: BTreeMap<TopicId, TimestampMs> = BTreeMap::new();
        for (partition, written) in written {
            let of_topic = oldest.entry(partition.topic).or_insert(written);
            *of_topic = written.min(*of_topic);
        }
        let now = TimestampMs::new(self.inner.clock.wall_ms());
        for (_, topic) in &image.topics {
            let config = image.effective(topic);
            let retention_ms = config.retention_ms.filter(|_| config.cleanup.is_deleted());
            let census = TopicCensus {
                bytes_led: sizes.get(&topic.id).map_or(0.0, |bytes| float(*bytes)),
                partitions: float(topic.partitions.len() as u64),
                retention_seconds: retention_ms.map_or(f64::INFINITY, |ms| float(ms) / 1e3),
                oldest_age_seconds: oldest.get(&topic.id).map_or(0.0, |at| age_seconds(*at, now)),
            };
            self.inner.metrics.topic(topic).show(&census);
        }
    }

    /// Every open partition that this node leads.
    fn led_partitions(&self) -> Vec<PartitionHandle> {
        let shards = self.inner.shards.all();
        let led = shards.iter().filter(|shard| shard.is_ready_leader());
        led.flat_map(|shard| shard.partitions().into_iter().filter_map(|id| shard.partition(id)))
            .collect()
    }
}

/// The clock of a producer may be ahead.
fn age_seconds(written: TimestampMs, now: TimestampMs) -> f64 {
    float(u64::try_from(now.get().saturating_sub(written.get())).unwrap_or(0)) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey() -> Survey {
        let shard = |has_leader, partitions, replicas: &[u64]| ShardSurvey {
            has_leader,
            partitions,
            replicas: replicas.iter().map(|node| NodeId::new(*node)).collect(),
            silent: Vec::new(),
        };
        Survey {
            shards: BTreeMap::from([
                (ShardId::new(1), shard(true, 4, &[1, 2, 3])),
                (ShardId::new(2), shard(true, 2, &[2, 1])),
            ]),
            has_controller: true,
            is_registered: true,
            ..Survey::default()
        }
    }

    #[test]
    fn a_cluster_without_problems_has_nothing_to_say() {
        assert_eq!(survey().problems(), Vec::<String>::new());
    }

    #[test]
    fn a_dead_node_is_named_with_what_it_costs() {
        let mut survey = survey();
        survey.down.insert(NodeId::new(3), "host3:9292".to_owned());
        assert_eq!((survey.under_replicated_partitions(), survey.at_risk_partitions()), (4, 4));
        assert_eq!(
            survey.problems(),
            [
                "node 3 (host3:9292) does not answer",
                "4 partitions have fewer replicas than they should"
            ]
        );
    }

    #[test]
    fn a_node_that_is_rebuilt_is_a_problem_until_it_has_all_its_replicas() {
        let mut survey = survey();
        survey.rebuilding.insert(NodeId::new(2), 3);
        assert_eq!(
            survey.problems(),
            ["node 2 lost its journal and is being rebuilt: 3 of its replicas are still to take \
              the places of those it lost"]
        );
    }

    #[test]
    fn of_five_replicas_one_may_be_away_without_risk() {
        let mut survey = survey();
        let nodes = (1..=5).map(NodeId::new).collect();
        survey.shards.get_mut(&ShardId::new(2)).expect("it is there").replicas = nodes;
        survey.down.insert(NodeId::new(4), String::new());
        assert_eq!((survey.under_replicated_partitions(), survey.at_risk_partitions()), (2, 0));
        survey.down.insert(NodeId::new(5), String::new());
        assert_eq!((survey.under_replicated_partitions(), survey.at_risk_partitions()), (2, 2));
    }

    #[test]
    fn partitions_without_a_leader_are_counted() {
        let mut survey = survey();
        survey.shards.get_mut(&ShardId::new(2)).expect("it is there").has_leader = false;
        assert_eq!(survey.leaderless_partitions(), 2);
        assert_eq!(survey.problems(), ["shard 2 has no leader: 2 partitions are not served"]);
    }

    #[test]
    fn a_full_disk_and_an_unopened_shard_are_problems() {
        let mut survey = survey();
        survey.full = Some(Full { free: 1, required: 2 });
        survey.unopened.insert(ShardId::new(1), "damaged".to_owned());
        assert_eq!(
            survey.problems(),
            [
                "shard 1 cannot be opened here: damaged",
                "this node takes no writes: 1 bytes are free, 2 are required"
            ]
        );
    }
}
