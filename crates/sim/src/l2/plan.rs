//! What a seed decides before anything happens.

use std::time::Duration;

use quipu_runtime::Rng;

use crate::commands::{one_in, pick};
use crate::l1::plan::{Plan as ClusterPlan, consensus, weather};
use crate::plan::Plan as StoragePlan;

/// Partitions of each topic: the first is in the first shard, the others follow in turn.
pub(super) const PARTITIONS: u32 = 2;

/// Clients and settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cluster: ClusterPlan,
    pub(super) topics: Vec<TopicPlan>,
    pub(super) groups: Vec<GroupPlan>,
    pub(super) producers: u64,
    /// Batches a producer has unsettled in a partition, at most.
    pub(super) window: usize,
    /// Between two batches of a producer, at most. Unit: milliseconds.
    pub(super) think_ms: u64,
    /// How long a producer tries to deliver a batch.
    pub(super) delivery: Duration,
    pub(super) retention_interval: Duration,
    /// Between two troubles that are not the nodes', at most. Unit: milliseconds.
    pub(super) trouble_ms: u64,
}

/// A topic.
#[derive(Clone, Debug)]
pub(super) struct TopicPlan {
    pub(super) name: &'static str,
    pub(super) age_ms: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) segment_bytes: u64,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub(super) struct GroupPlan {
    pub(super) name: &'static str,
    pub(super) topics: Vec<&'static str>,
    pub(super) members: u64,
    /// Members have lasting names.
    pub(super) is_static: bool,
    pub(super) is_range: bool,
    pub(super) session_ms: u32,
    pub(super) commit_interval: Duration,
    /// Records a member handles at once.
    pub(super) concurrency: usize,
    /// How long it handles one, at most. Unit: milliseconds.
    pub(super) handle_ms: u64,
    /// Between two mishaps of a member, at most. Unit: milliseconds.
    pub(super) mishap_ms: u64,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let cluster = cluster(rng);
        let is_limited = one_in(rng, 2);
        let topics = vec![topic(rng, "orders", is_limited), topic(rng, "mail", true)];
        let groups =
            vec![group(rng, "billing", &["orders", "mail"]), group(rng, "audit", &["mail"])];
        Self {
            cluster,
            topics,
            groups,
            producers: 1 + rng.below(3),
            window: usize::try_from(1 + rng.below(5)).expect("few"),
            think_ms: pick(rng, &[60, 150, 400]),
            delivery: Duration::from_millis(pick(rng, &[1_500, 6_000, 120_000])),
            retention_interval: Duration::from_millis(pick(rng, &[500, 1_500])),
            trouble_ms: pick(rng, &[1_500, 4_000]),
        }
    }
}

fn cluster(rng: &mut Rng) -> ClusterPlan {
    let shards = pick(rng, &[1, 2, 2]);
    ClusterPlan {
        nodes: 3,
        storage: StoragePlan { shards, ..StoragePlan::draw(rng) },
        consensus: consensus(rng),
        weather: weather(rng),
        load: Duration::from_millis(10_000 + rng.below(15_000)),
        clients: 0,
        think_ms: 1,
        fault_pause_ms: pick(rng, &[1_500, 4_000, 10_000]),
        checkpoint_ms: pick(rng, &[400, 2_000]),
        has_last_blackout: one_in(rng, 3),
        moves: None,
    }
}

fn topic(rng: &mut Rng, name: &'static str, is_limited: bool) -> TopicPlan {
    let (age_ms, bytes) = match rng.below(3) {
        _ if !is_limited => (None, None),
        0 => (Some(pick(rng, &[3_000, 8_000])), None),
        1 => (None, Some(pick(rng, &[500, 4_000]))),
        _ => (Some(pick(rng, &[3_000, 8_000])), Some(pick(rng, &[500, 4_000]))),
    };
    TopicPlan { name, age_ms, bytes, segment_bytes: pick(rng, &[400, 1_500, 6_000]) }
}

fn group(rng: &mut Rng, name: &'static str, topics: &[&'static str]) -> GroupPlan {
    GroupPlan {
        name,
        topics: topics.to_vec(),
        members: 1 + rng.below(3),
        is_static: one_in(rng, 3),
        is_range: one_in(rng, 2),
        session_ms: 6_000,
        commit_interval: Duration::from_millis(pick(rng, &[200, 1_000, 3_000])),
        concurrency: usize::try_from(1 + rng.below(6)).expect("few"),
        handle_ms: pick(rng, &[20, 100, 600]),
        mishap_ms: pick(rng, &[8_000, 20_000]),
    }
}
