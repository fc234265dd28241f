//! All metrics of this crate. Labels: the shard, never anything that grows with users' data.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use quipu_types::ShardId;

use crate::receipt::Receipts;

const QUEUE_BYTES: &str = "quipu_shard_queue_bytes";
const BUNDLE_COMMANDS: &str = "quipu_shard_bundle_commands";
const BUNDLE_BYTES: &str = "quipu_shard_bundle_bytes";
const BUNDLES: &str = "quipu_shard_bundles_total";
const REFUSED: &str = "quipu_shard_refused_total";
const CHECKPOINT_SECONDS: &str = "quipu_shard_checkpoint_seconds";
const CHECKPOINT_PARTITIONS: &str = "quipu_shard_checkpoint_partitions";
const CHECKPOINT_DEBT: &str = "quipu_shard_checkpoint_debt_bytes";
const SNAPSHOTS_INSTALLED: &str = "quipu_shard_snapshots_installed_total";
const SNAPSHOT_MISSING: &str = "quipu_shard_snapshot_records_missing";
const PARTITIONS: &str = "quipu_shard_partitions";
const REQUEST_PHASE: &str = "quipu_request_phase_seconds";

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes waiting to be bundled, by shard.");
    describe_histogram!(BUNDLE_COMMANDS, Unit::Count, "Commands of a proposed bundle, by shard.");
    describe_histogram!(BUNDLE_BYTES, Unit::Bytes, "Bytes of a proposed bundle, by shard.");
    describe_counter!(BUNDLES, Unit::Count, "Bundles proposed, by shard.");
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Commands refused before they were proposed, by shard."
    );
    describe_histogram!(
        CHECKPOINT_SECONDS,
        Unit::Seconds,
        "Time to make a checkpoint durable, by shard."
    );
    describe_histogram!(
        CHECKPOINT_PARTITIONS,
        Unit::Count,
        "Partitions a checkpoint flushed, by shard."
    );
    describe_gauge!(
        CHECKPOINT_DEBT,
        Unit::Bytes,
        "Bytes applied since the last checkpoint, by shard."
    );
    describe_counter!(SNAPSHOTS_INSTALLED, Unit::Count, "Snapshots installed, by shard.");
    describe_gauge!(
        SNAPSHOT_MISSING,
        Unit::Count,
        "Records of a snapshot that is being received and that are still to come, by shard."
    );
    describe_gauge!(PARTITIONS, Unit::Count, "Partitions a replica hosts, by shard.");
    describe_histogram!(
        REQUEST_PHASE,
        Unit::Seconds,
        "Where the time of requests goes, by api and phase. queue: until there was room and the batch \
         was proposed, or the fetch begun. append: until the leader's disk had it. replicate: until \
         a quorum had it and it was applied; 0 when others were faster than the leader. respond: \
         until the client took the answer."
    );
}

/// A stretch of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn.
    Queue,
    /// The leader's disk takes it.
    Append,
    /// A quorum takes it.
    Replicate,
    /// The client takes the answer.
    Respond,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Append => "append",
            Self::Replicate => "replicate",
            Self::Respond => "respond",
        }
    }
}

/// The series of one phase of one api.
#[derive(Clone, Debug)]
pub struct PhaseMetric(Histogram);

impl PhaseMetric {
    /// Looks it up.
    #[must_use]
    pub fn new(api: &'static str, phase: Phase) -> Self {
        Self(histogram!(REQUEST_PHASE, "api" => api, "phase" => phase.name()))
    }

    /// One request, or one batch of it, took so long.
    pub fn record(&self, took: Duration) {
        self.0.record(took.as_secs_f64());
    }

    pub(crate) fn record_many(&self, took: Duration, count: usize) {
        self.0.record_many(took.as_secs_f64(), count);
    }
}

/// The phases of an append that shards know of.
#[derive(Clone, Debug)]
pub(crate) struct AppendPhases {
    pub(crate) queue: PhaseMetric,
    pub(crate) append: PhaseMetric,
    pub(crate) replicate: PhaseMetric,
}

impl AppendPhases {
    fn new() -> Self {
        let of = |phase| PhaseMetric::new("produce", phase);
        Self { queue: of(Phase::Queue), append: of(Phase::Append), replicate: of(Phase::Replicate) }
    }
}

/// One shard's instruments, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct ShardMetrics {
    pub(crate) queue_bytes: Gauge,
    pub(crate) bundle_commands: Histogram,
    pub(crate) bundle_bytes: Histogram,
    pub(crate) bundles: Counter,
    pub(crate) refused: Counter,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) checkpoint_partitions: Histogram,
    pub(crate) checkpoint_debt: Gauge,
    pub(crate) snapshots_installed: Counter,
    pub(crate) receipts: Receipts,
    pub(crate) partitions: Gauge,
    /// Of all shards together.
    pub(crate) phases: AppendPhases,
}

impl ShardMetrics {
    /// The instruments of one shard.
    pub(crate) fn new(shard: ShardId) -> Self {
        let shard = shard.to_string();
        Self {
            queue_bytes: gauge!(QUEUE_BYTES, "shard" => shard.clone()),
            bundle_commands: histogram!(BUNDLE_COMMANDS, "shard" => shard.clone()),
            bundle_bytes: histogram!(BUNDLE_BYTES, "shard" => shard.clone()),
            bundles: counter!(BUNDLES, "shard" => shard.clone()),
            refused: counter!(REFUSED, "shard" => shard.clone()),
            checkpoint_seconds: histogram!(CHECKPOINT_SECONDS, "shard" => shard.clone()),
            checkpoint_partitions: histogram!(CHECKPOINT_PARTITIONS, "shard" => shard.clone()),
            checkpoint_debt: gauge!(CHECKPOINT_DEBT, "shard" => shard.clone()),
            snapshots_installed: counter!(SNAPSHOTS_INSTALLED, "shard" => shard.clone()),
            receipts: Receipts::new(gauge!(SNAPSHOT_MISSING, "shard" => shard.clone())),
            partitions: gauge!(PARTITIONS, "shard" => shard),
            phases: AppendPhases::new(),
        }
    }
}
