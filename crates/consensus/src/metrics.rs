//! Every metric of this crate.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use quipu_types::{NodeId, ShardId};

/// Says what each metric means; called once per node.
pub fn describe() {
    describe_counter!(
        "quipu_raft_leadership_changes_total",
        "New leaders that this replica has seen, by shard."
    );
    describe_histogram!(
        "quipu_raft_commit_seconds",
        metrics::Unit::Seconds,
        "From a proposal on the leader to its reply, by shard: replicated, flushed by a quorum, applied."
    );
    describe_gauge!(
        "quipu_raft_follower_lag_entries",
        "Entries that a node's disk lacks, in the worst of the shards led here, by peer."
    );
    describe_counter!(
        "quipu_peer_bytes_total",
        metrics::Unit::Bytes,
        "Bytes of Raft messages between nodes, by direction."
    );
    describe_gauge!("quipu_peer_connected", "1 while this node has a connection, else 0, by peer.");
    describe_counter!(
        "quipu_snapshot_bytes_total",
        metrics::Unit::Bytes,
        "Bytes of snapshots between nodes, by direction."
    );
    describe_gauge!(
        "quipu_catch_up_rate_bytes",
        metrics::Unit::Bytes,
        "Bytes a second that copies for other nodes may take of this node now: fewer while appends suffer from them."
    );
    describe_counter!("quipu_raft_fast_elections_total", "Campaigns because a leader's node died.");
    fast_elections().increment(0);
    snapshot_bytes("in").increment(0);
    snapshot_bytes("out").increment(0);
}

/// One group's.
pub(crate) struct GroupMetrics {
    pub(crate) leadership_changes: Counter,
    pub(crate) commit_seconds: Histogram,
}

impl GroupMetrics {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            leadership_changes: counter!(
                "quipu_raft_leadership_changes_total", "shard" => shard.to_string()
            ),
            commit_seconds: histogram!("quipu_raft_commit_seconds", "shard" => shard.to_string()),
        }
    }
}

/// One peer's.
pub(crate) struct PeerMetrics {
    pub(crate) connected: Gauge,
    pub(crate) lag_entries: Gauge,
}

impl PeerMetrics {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            connected: gauge!("quipu_peer_connected", "peer" => node.to_string()),
            lag_entries: gauge!("quipu_raft_follower_lag_entries", "peer" => node.to_string()),
        }
    }
}

/// The node's traffic.
pub(crate) struct TrafficMetrics {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

impl TrafficMetrics {
    pub(crate) fn new() -> Self {
        Self {
            sent: counter!("quipu_peer_bytes_total", "direction" => "out"),
            received: counter!("quipu_peer_bytes_total", "direction" => "in"),
        }
    }
}

/// Campaigns begun because a leader's node died.
pub(crate) fn fast_elections() -> Counter {
    counter!("quipu_raft_fast_elections_total")
}

/// Bytes of snapshots, `in` or `out`.
pub(crate) fn snapshot_bytes(direction: &'static str) -> Counter {
    counter!("quipu_snapshot_bytes_total", "direction" => direction)
}

/// Bytes a second that copies for other nodes may take now.
pub(crate) fn catch_up_rate() -> Gauge {
    gauge!("quipu_catch_up_rate_bytes")
}
