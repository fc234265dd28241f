//! What a shard lacks and what it has too much, as a pure decision.

use std::collections::BTreeMap;

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
    /// Compares what the shard hosts, each with its configuration as applied, with the image.
    pub(super) fn make(
        image: &Image,
        shard: ShardId,
        hosted: &BTreeMap<PartitionId, PartitionConfig>,
    ) -> Self {
        let wanted: BTreeMap<PartitionId, PartitionConfig> = image
            .partitions_of(shard)
            .map(|(partition, topic)| (partition, config(&image.effective(topic))))
            .collect();
        let open = wanted
            .iter()
            .filter(|(partition, config)| hosted.get(partition) != Some(config))
            .map(|(partition, config)| (*partition, *config));
        let close = hosted.keys().filter(|partition| !wanted.contains_key(partition)).copied();
        Self { open: open.collect(), close: close.collect() }
    }
}

/// The part of a topic's configuration that apply needs.
fn config(topic: &TopicConfig) -> PartitionConfig {
    PartitionConfig { segment_bytes: topic.segment_bytes, segment_age_ms: topic.segment_ms }
}

#[cfg(test)]
mod tests {
    use quipu_metadata::placement::Rule;
    use quipu_metadata::state_machine::{self, State};
    use quipu_metadata::{Command, Founder, NewTopic, NodeRegistration, Setting};
    use quipu_types::{
        ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, MetadataVersion, NodeId,
        StartHistory, TopicId, TopicName,
    };

    use super::*;

    /// A cluster of one node with a topic of each configuration.
    fn image(topics: &[(&str, Option<&str>)]) -> Image {
        let mut state = State::default();
        let (node, directory) = (NodeId::new(1), DirectoryId::from_bytes([1; 16]));
        let cluster = ClusterId::from_bytes([1; 16]);
        let founders = vec![Founder { node, directory }];
        let mut commands = vec![Command::FormCluster {
            cluster,
            founders,
            shards_per_node: 1,
            level: FormatLevel::FIRST,
        }];
        commands.push(Command::RegisterNode(NodeRegistration {
            node,
            directory,
            incarnation: Incarnation::new(1),
            starts: StartHistory::default(),
            address_client: "n1:9192".to_owned(),
            address_peer: "n1:9292".to_owned(),
            rack: String::new(),
            version: "0".to_owned(),
            levels: LevelRange::default(),
        }));
        commands.push(Command::CreateShards { class: 1, rule: Rule::LeastLoaded });
        for (name, segment_bytes) in topics {
            let settings = segment_bytes.iter();
            let settings = settings.map(|bytes| Setting::parse("segment-bytes", bytes));
            let topic = NewTopic {
                name: TopicName::new(name).expect("valid"),
                id: TopicId::from_bytes([name.as_bytes()[0]; 16]),
                partitions: 1,
                replication: Some(1),
                config: settings.collect::<Result<_, _>>().expect("valid"),
            };
            commands.push(Command::CreateTopic { topic, rule: Rule::LeastLoaded });
        }
        for (version, command) in (1..).zip(commands) {
            let applied = state_machine::apply(&mut state, MetadataVersion::new(version), command);
            applied.expect("taken");
        }
        state.image
    }

    fn only_partition(image: &Image, name: &str) -> (PartitionId, ShardId) {
        let topic = image.topic(&TopicName::new(name).expect("valid")).expect("it is there");
        topic.placed().next().expect("one partition")
    }

    #[test]
    fn what_is_missing_is_opened_and_what_is_too_much_is_a_candidate() {
        let image = image(&[("a", None)]);
        let (partition, shard) = only_partition(&image, "a");
        let stranger = PartitionId::new(TopicId::from_bytes([9; 16]), partition.index);
        let hosted = BTreeMap::from([(stranger, PartitionConfig::default())]);
        let plan = Plan::make(&image, shard, &hosted);
        let opened: Vec<PartitionId> = plan.open.iter().map(|(partition, _)| *partition).collect();
        assert_eq!((opened, plan.close), (vec![partition], vec![stranger]));
    }

    #[test]
    fn a_shard_in_line_needs_no_command_after_an_election() {
        for segment_bytes in [None, Some("2MiB")] {
            let image = image(&[("a", segment_bytes)]);
            let (partition, shard) = only_partition(&image, "a");
            let first = Plan::make(&image, shard, &BTreeMap::new());
            let [(_, config)] = first.open[..] else { panic!("{first:?}") };
            let hosted = BTreeMap::from([(partition, config)]);
            assert_eq!(Plan::make(&image, shard, &hosted), Plan::default());
        }
    }

    #[test]
    fn a_configuration_that_changed_is_told_also_when_it_is_the_default_again() {
        for (now, bytes) in [(Some("2MiB"), 2 << 20), (None, 128 << 20)] {
            let image = image(&[("a", now)]);
            let (partition, shard) = only_partition(&image, "a");
            let hosted = PartitionConfig { segment_bytes: 1 << 20, segment_age_ms: 604_800_000 };
            let plan = Plan::make(&image, shard, &BTreeMap::from([(partition, hosted)]));
            let config = PartitionConfig { segment_bytes: bytes, ..hosted };
            assert_eq!(plan.open, [(partition, config)]);
        }
    }
}
