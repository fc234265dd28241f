//! All metrics of this crate. Labels: the shard, never anything that grows with users' data.

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

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes waiting to be bundled.");
    describe_histogram!(BUNDLE_COMMANDS, Unit::Count, "Commands of a proposed bundle.");
    describe_histogram!(BUNDLE_BYTES, Unit::Bytes, "Bytes of a proposed bundle.");
    describe_counter!(BUNDLES, Unit::Count, "Bundles proposed.");
    describe_counter!(REFUSED, Unit::Count, "Commands refused before they were proposed.");
    describe_histogram!(CHECKPOINT_SECONDS, Unit::Seconds, "Time to make a checkpoint durable.");
    describe_histogram!(CHECKPOINT_PARTITIONS, Unit::Count, "Partitions a checkpoint flushed.");
    describe_gauge!(CHECKPOINT_DEBT, Unit::Bytes, "Bytes applied since the last checkpoint.");
    describe_counter!(SNAPSHOTS_INSTALLED, Unit::Count, "Snapshots installed.");
    describe_gauge!(
        SNAPSHOT_MISSING,
        Unit::Count,
        "Records of a snapshot that is being received and that are still to come."
    );
    describe_gauge!(PARTITIONS, Unit::Count, "Partitions the shard hosts.");
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
        }
    }
}
