//! Compaction: every replica rewrites its own sealed segments, when it gets to it.
//!
//! Which records may go says `quipu_segment::compaction`; that replicas stay equal in what counts,
//! too. Whose clock counts is as in retention.

use std::time::Duration;

use quipu_metadata::TopicConfig;
use quipu_partition::{CompactionReport, CompactionRule, PartitionHandle};
use quipu_runtime::run_blocking;
use quipu_shard::Shard;
use quipu_types::{Offset, TimestampMs};

use crate::Broker;
use crate::metrics::DeletionReason;
use crate::retention::Passes;

/// Keys in memory at once: some 50 MiB, for one partition of a node at a time.
pub(crate) const KEYS_MAX: usize = 1 << 20;

/// Looks after one shard until cancelled.
pub(crate) async fn run(broker: Broker, shard: Shard, interval: Duration) {
    let mut passes = Passes::from_now(broker.clock(), interval);
    loop {
        let now = passes.next().await;
        pass(&broker, &shard, now).await;
    }
}

/// Does a round for each partition that is compacted.
async fn pass(broker: &Broker, shard: &Shard, now: TimestampMs) {
    let image = broker.image();
    let compacted = image
        .partitions_of(shard.id())
        // What is copied must not lose a tombstone whose older record was copied before.
        .filter(|(id, topic)| {
            topic.config.cleanup.is_compacted() && !topic.moves.contains_key(&id.index)
        })
        .filter_map(|(partition, topic)| Some((shard.partition(partition)?, topic)));
    for (handle, topic) in compacted {
        let rule = rule(&topic.config, now);
        // One at a time on the whole node, for the memory.
        let Ok(_permit) = broker.inner.compacting.acquire().await else { return };
        let partition = handle.id();
        if broker.inner.damages.is_replacing(partition) {
            continue;
        }
        // Nor does a tombstone go while another replica takes a copy, piece by piece.
        let is_lent = broker.inner.loans.hold(partition, broker.clock().monotonic());
        let rule = if is_lent { CompactionRule { tombstone_ms: u64::MAX, ..rule } } else { rule };
        match run_blocking(move || round(&handle, rule)).await {
            Ok(Ok(report)) if report.records > 0 => {
                tracing::info!(topic = %topic.name, %partition, ?report, "compacted");
                if shard.is_ready_leader() {
                    let metrics = broker.inner.metrics.topic(topic);
                    metrics.deleted(DeletionReason::Compaction, report.records, report.bytes);
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(topic = %topic.name, %partition, %error, "it cannot be compacted");
            }
            Err(undone) => panic!("compact {partition}: {undone}"),
        }
    }
}

fn round(
    handle: &PartitionHandle,
    rule: CompactionRule,
) -> Result<CompactionReport, quipu_partition::ReadError> {
    handle.compact(rule)
}

fn rule(config: &TopicConfig, now: TimestampMs) -> CompactionRule {
    CompactionRule {
        until: Offset::new(u64::MAX),
        now,
        lag_min_ms: config.compaction_lag_min_ms,
        lag_max_ms: config.compaction_lag_max_ms,
        tombstone_ms: config.tombstone_ms,
        keys_max: KEYS_MAX,
    }
}
