//! Old records go: the leader of a shard decides, and the log start it decides on is replicated.
//!
//! What may go says `quipu_partition::retention`; whose clock counts says `steady_clock`. Groups
//! that had not read what goes hear of it from the coordinator's meter.

mod steady_clock;

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_metadata::{Image, TopicConfig};
use quipu_partition::PartitionHandle;
use quipu_partition::retention::{Cut, Limits};
use quipu_runtime::run_blocking;
use quipu_shard::{PartitionControl, Shard};
use quipu_types::{PartitionId, TimestampMs};

use crate::metrics::DeletionReason;
use crate::{Broker, reconcile};
pub(crate) use steady_clock::Passes;

/// Segments of a partition that go by age in one pass: more than any partition fills meanwhile, and
/// few enough that somebody sees a clock that is wrong since the start before everything is gone.
const AGED_SEGMENTS_MAX: usize = 16;

/// Looks after one shard until cancelled.
pub(crate) async fn run(broker: Broker, shard: Shard, interval: Duration) {
    let mut passes = Passes::from_now(broker.clock(), interval);
    loop {
        let now = passes.next().await;
        if shard.is_ready_leader() {
            pass(&broker, &shard, now).await;
        }
    }
}

/// Trims what may go of the partitions of a shard.
async fn pass(broker: &Broker, shard: &Shard, now: TimestampMs) {
    let image = broker.image();
    let limited = limited(&image, shard);
    if limited.is_empty() {
        return;
    }
    // The age of a segment that grows may have to be read.
    let looked = run_blocking(move || cuts(limited, now)).await;
    let Ok(cuts) = looked else { return };
    let trims = cuts.iter().map(|(partition, cut)| {
        let (partition, to) = (*partition, cut.to);
        PartitionControl::Trim { partition, to }
    });
    for done in reconcile::carry_out(broker, shard, trims.collect()).await {
        let PartitionControl::Trim { partition, .. } = done else { continue };
        let topic = image.topic_by_id(&partition.topic);
        let (Some(topic), Some(cut)) = (topic, cuts.get(&partition)) else { continue };
        tracing::info!(topic = %topic.name, %partition, ?cut, "old records are gone");
        let metrics = broker.inner.metrics.topic(topic);
        metrics.deleted(DeletionReason::Age, cut.records_by_age, cut.bytes_by_age);
        metrics.deleted(DeletionReason::Size, cut.records_by_size, cut.bytes_by_size);
    }
}

/// The partitions of a shard that keep less than everything.
fn limited(image: &Image, shard: &Shard) -> Vec<(PartitionHandle, Limits)> {
    let partitions = image.partitions_of(shard.id());
    let limited = partitions.filter_map(|(partition, topic)| {
        let limits = limits(&image.effective(topic));
        (!limits.is_unlimited()).then_some((partition, limits))
    });
    limited.filter_map(|(partition, limits)| Some((shard.partition(partition)?, limits))).collect()
}

fn limits(config: &TopicConfig) -> Limits {
    if !config.cleanup.is_deleted() {
        return Limits::default();
    }
    Limits { age_ms: config.retention_ms, bytes: config.retention_bytes }
}

/// What may go, by partition.
fn cuts(limited: Vec<(PartitionHandle, Limits)>, now: TimestampMs) -> BTreeMap<PartitionId, Cut> {
    let cut = |(handle, limits): (PartitionHandle, Limits)| match handle.retention_cut(
        limits,
        now,
        AGED_SEGMENTS_MAX,
    ) {
        Ok(cut) => Some((handle.id(), cut?)),
        Err(error) => {
            let partition = handle.id();
            tracing::warn!(%partition, %error, "the age of a partition cannot be read");
            None
        }
    };
    limited.into_iter().filter_map(cut).collect()
}
