//! What a shard lacks and what it has too much, as a pure decision.

use std::collections::{BTreeMap, BTreeSet};

use quipu_metadata::{Image, TopicConfig};
use quipu_shard::PartitionConfig;
use quipu_types::{PartitionId, ShardId};

/// The commands that bring a shard in line with an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) open: Vec<(PartitionId, PartitionConfig)>,
    /// Only candidates: the image may be behind.
    pub(super) close: Vec<PartitionId>,
}

impl Plan {
    /// Compares what the shard hosts, and what it was told in this leadership, with the image.
    ///
    /// A partition that is hosted, was told nothing and has the default configuration is taken to
    /// be right: so an election does not cost a command per partition.
    pub(super) fn make(
        image: &Image,
        shard: ShardId,
        hosted: &[PartitionId],
        sent: &BTreeMap<PartitionId, PartitionConfig>,
    ) -> Self {
        let hosted: BTreeSet<PartitionId> = hosted.iter().copied().collect();
        let wanted: BTreeMap<PartitionId, PartitionConfig> = image
            .partitions_of(shard)
            .map(|(partition, topic)| (partition, config(&topic.config)))
            .collect();
        let default = config(&TopicConfig::default());
        let is_due = |partition: &PartitionId, config: &PartitionConfig| {
            let told = sent.get(partition).unwrap_or(&default);
            !hosted.contains(partition) || told != config
        };
        let open = wanted
            .iter()
            .filter(|(partition, config)| is_due(partition, config))
            .map(|(partition, config)| (*partition, *config));
        let close = hosted.iter().filter(|partition| !wanted.contains_key(partition)).copied();
        Self { open: open.collect(), close: close.collect() }
    }
}

/// The part of a topic's configuration that apply needs.
fn config(topic: &TopicConfig) -> PartitionConfig {
    PartitionConfig { segment_bytes: topic.segment_bytes, segment_age_ms: topic.segment_ms }
}
