//! What a shard lacks and what it has too much, as a pure decision.

use std::collections::BTreeMap;

use quipu_metadata::{Image, TopicConfig};
use quipu_shard::{Hosted, PartitionConfig, PartitionControl, Stage, Tenure};
use quipu_types::{MoveId, PartitionId, ShardId};

/// The commands that bring a shard in line with an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Only candidates: one that has moved on would begin again here, empty.
    pub(super) open: Vec<(PartitionId, PartitionConfig)>,
    /// Hosted, with another configuration.
    pub(super) configure: Vec<(PartitionId, PartitionConfig)>,
    /// Only candidates, each with the move that brought it: the image may be behind.
    pub(super) close: Vec<(PartitionId, Option<MoveId>)>,
    /// Only candidates, each with the move that it was sealed for.
    pub(super) unseal: Vec<(PartitionId, MoveId)>,
}

impl Plan {
    /// Compares what the shard hosts, each with its configuration as applied, with the image.
    pub(super) fn make(
        image: &Image,
        shard: ShardId,
        hosted: &BTreeMap<PartitionId, Hosted>,
    ) -> Self {
        let hosted = hosted.iter().map(|(id, hosted)| (*id, (hosted.config, hosted.tenure)));
        Self::compare(image, shard, &hosted.collect())
    }

    fn compare(
        image: &Image,
        shard: ShardId,
        hosted: &BTreeMap<PartitionId, (PartitionConfig, Tenure)>,
    ) -> Self {
        let wanted: BTreeMap<PartitionId, PartitionConfig> = image
            .partitions_of(shard)
            .map(|(partition, topic)| (partition, config(&image.effective(topic))))
            .collect();
        let mut plan = Self::default();
        for (partition, config) in &wanted {
            match hosted.get(partition) {
                None => plan.open.push((*partition, *config)),
                Some((applied, _)) if applied != config => {
                    plan.configure.push((*partition, *config));
                }
                Some(_) => {}
            }
        }
        // What an earlier move left unopened makes way by itself when the new one begins.
        let is_arriving = |id: &PartitionId, tenure: &Tenure| {
            let moving = image.move_of(*id).filter(|moving| moving.to == shard);
            moving.is_some_and(|it| !tenure.is_open() || tenure.arrived_by == Some(it.id))
        };
        let close = hosted
            .iter()
            .filter(|(id, (_, tenure))| !wanted.contains_key(id) && !is_arriving(id, tenure))
            .map(|(partition, (_, tenure))| (*partition, tenure.arrived_by));
        let unseal = hosted.iter().filter_map(|(partition, (_, tenure))| {
            let Stage::Sealed(by) = tenure.stage else { return None };
            let is_going = image.move_of(*partition).is_some_and(|moving| moving.id == by);
            (wanted.contains_key(partition) && !is_going).then_some((*partition, by))
        });
        plan.close.extend(close);
        plan.unseal.extend(unseal);
        plan
    }

    /// Whether the image must be the latest for it.
    pub(super) fn must_be_confirmed(&self) -> bool {
        !self.open.is_empty() || !self.close.is_empty() || !self.unseal.is_empty()
    }

    /// What may be done whatever the metadata group has decided since.
    pub(super) fn without_what_must_be_confirmed(self) -> Self {
        Self { configure: self.configure, ..Self::default() }
    }

    /// All of it.
    pub(super) fn commands(self) -> Vec<PartitionControl> {
        let open = self.open.into_iter().chain(self.configure);
        let open = open.map(|(partition, config)| PartitionControl::Open {
            partition,
            epoch_base: 0,
            config,
        });
        let close = self.close.into_iter();
        let close =
            close.map(|(partition, arrived_by)| PartitionControl::Close { partition, arrived_by });
        let unseal = self.unseal.into_iter();
        let unseal = unseal.map(|(partition, by)| PartitionControl::Unseal { partition, by });
        open.chain(close).chain(unseal).collect()
    }
}

/// The part of a topic's configuration that apply needs.
pub(crate) fn config(topic: &TopicConfig) -> PartitionConfig {
    PartitionConfig { segment_bytes: topic.segment_bytes, segment_age_ms: topic.segment_ms }
}

#[cfg(test)]
mod tests {
    use quipu_metadata::placement::Rule;
    use quipu_metadata::state_machine::{self, State};
    use std::sync::Arc;

    use quipu_metadata::{
        Command, Founder, NewTopic, NodeRegistration, PartitionMove, Setting, TopicRecord,
    };
    use quipu_types::{
        ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, MetadataVersion, NodeId,
        PartitionIndex, StartHistory, TopicId, TopicName,
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
        let hosted = BTreeMap::from([(stranger, (PartitionConfig::default(), Tenure::default()))]);
        let plan = Plan::compare(&image, shard, &hosted);
        let opened: Vec<PartitionId> = plan.open.iter().map(|(partition, _)| *partition).collect();
        assert!(plan.must_be_confirmed());
        assert_eq!((opened, plan.close), (vec![partition], vec![(stranger, None)]));
    }

    #[test]
    fn a_shard_in_line_needs_no_command_after_an_election() {
        for segment_bytes in [None, Some("2MiB")] {
            let image = image(&[("a", segment_bytes)]);
            let (partition, shard) = only_partition(&image, "a");
            let first = Plan::compare(&image, shard, &BTreeMap::new());
            let [(_, config)] = first.open[..] else { panic!("{first:?}") };
            let hosted = BTreeMap::from([(partition, (config, Tenure::default()))]);
            assert_eq!(Plan::compare(&image, shard, &hosted), Plan::default());
        }
    }

    #[test]
    fn a_configuration_that_changed_is_told_also_when_it_is_the_default_again() {
        for (now, bytes) in [(Some("2MiB"), 2 << 20), (None, 128 << 20)] {
            let image = image(&[("a", now)]);
            let (partition, shard) = only_partition(&image, "a");
            let hosted = PartitionConfig { segment_bytes: 1 << 20, segment_age_ms: 604_800_000 };
            let hosted_here = BTreeMap::from([(partition, (hosted, Tenure::default()))]);
            let plan = Plan::compare(&image, shard, &hosted_here);
            let config = PartitionConfig { segment_bytes: bytes, ..hosted };
            assert_eq!(plan.configure, [(partition, config)]);
            assert!(!plan.must_be_confirmed(), "it stays what it is, wherever it is");
        }
    }

    /// The image with a move of the partition to a second shard under way, and the move.
    fn moving(image: &Image, name: &str) -> (Image, PartitionMove) {
        let mut image = image.clone();
        let to = PartitionMove { id: MoveId::new(40), to: ShardId::new(99) };
        let topic = image.topic(&TopicName::new(name).expect("valid")).expect("it is there");
        let mut topic = TopicRecord::clone(topic);
        topic.moves.insert(PartitionIndex::new(0), to);
        image.insert_topic(Arc::new(topic));
        (image, to)
    }

    #[test]
    fn what_is_sealed_goes_on_when_its_move_is_no_more() {
        let image = image(&[("a", None)]);
        let (partition, shard) = only_partition(&image, "a");
        let (moving, to) = moving(&image, "a");
        let first = Plan::compare(&image, shard, &BTreeMap::new());
        let [(_, config)] = first.open[..] else { panic!("{first:?}") };
        let sealed = |by| Tenure { arrived_by: None, stage: Stage::Sealed(by) };
        let hosted = |by| BTreeMap::from([(partition, (config, sealed(by)))]);
        assert_eq!(Plan::compare(&moving, shard, &hosted(to.id)), Plan::default());
        for (image, by) in [(&image, to.id), (&moving, MoveId::new(39))] {
            let plan = Plan::compare(image, shard, &hosted(by));
            assert_eq!(plan.unseal, [(partition, by)]);
            assert!(plan.must_be_confirmed() && plan.close.is_empty());
        }
    }

    #[test]
    fn what_arrives_is_no_stranger_until_its_move_is_called_off() {
        let image = image(&[("a", None)]);
        let (partition, _) = only_partition(&image, "a");
        let (moving, to) = moving(&image, "a");
        let tenure = Tenure { arrived_by: Some(to.id), stage: Stage::Receiving };
        let hosted = BTreeMap::from([(partition, (PartitionConfig::default(), tenure))]);
        assert_eq!(Plan::compare(&moving, to.to, &hosted), Plan::default());
        let plan = Plan::compare(&image, to.to, &hosted);
        assert_eq!(plan.close, [(partition, Some(to.id))]);
        // One that an earlier move brought, and that was called off at its last step.
        let adopted = Tenure { arrived_by: Some(MoveId::new(39)), stage: Stage::Open };
        let hosted = BTreeMap::from([(partition, (PartitionConfig::default(), adopted))]);
        let plan = Plan::compare(&moving, to.to, &hosted);
        assert_eq!(plan.close, [(partition, adopted.arrived_by)], "it makes no way by itself");
    }
}
