//! Commands of the metadata group, decoded and applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{AppliedState, Payload, SnapshotCursor, SnapshotSource, StateMachine};
use quipu_kv::{SimTables, Store};
use quipu_metadata::placement::Rule;
use quipu_metadata::{
    Command, ConfigKey, Founder, Image, Images, MetadataStateMachine, NewTopic, NodeRegistration,
    Setting,
};
use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, MoveId, NodeId, PartitionIndex,
    ShardId, StartHistory, StartId, TopicName,
};

use crate::{Seed, Verdict, samples};

/// Commands of one input.
const COMMANDS_MAX: usize = 16;
/// Shards per node and partitions here: the configuration and the state machine bound them, high.
const SHARDS_MAX: u32 = 4;
const PARTITIONS_MAX: u32 = 200;

/// The input: commands, one a line. On a cluster that is not formed yet, and on one of three nodes.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let mut fresh = Replica::fresh();
    fresh.run(input);
    fresh.finish();
    let mut formed = Replica::formed();
    let before = formed.applied;
    formed.run(input);
    formed.finish();
    Verdict::when(formed.applied > before)
}

/// A replica of the metadata group on tables in memory.
pub(super) struct Replica {
    tables: SimTables,
    machine: MetadataStateMachine,
    images: Images,
    pub(super) applied: u64,
}

impl Replica {
    pub(super) fn fresh() -> Self {
        let tables = SimTables::new(Arc::new(|_| Ok(())));
        Self::on(tables).expect("nothing to read")
    }

    /// A cluster of three nodes with shards.
    pub(super) fn formed() -> Self {
        let mut replica = Self::fresh();
        forming().iter().for_each(|command| replica.apply(command));
        replica
    }

    /// What the tables hold.
    pub(super) fn on(tables: SimTables) -> Option<Self> {
        let store = Store::simulated(&tables).expect("tables without faults");
        let (machine, images) = MetadataStateMachine::open(store).ok()?;
        let applied = machine.applied_state().applied.map_or(0, |id| id.index.get());
        Some(Self { tables, machine, images, applied: applied.min(1 << 40) })
    }

    pub(super) fn image(&self) -> Arc<Image> {
        self.images.image()
    }

    /// Whether what is there is within the bounds of the configuration.
    pub(super) fn is_modest(&self) -> bool {
        self.image().shards_per_node <= SHARDS_MAX && self.image().nodes.len() <= 100
    }

    /// Applies the commands among the lines.
    pub(super) fn run(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n').take(COMMANDS_MAX) {
            match Command::decode(line) {
                Ok(command) => {
                    assert_eq!(Command::decode(&command.encode()).expect("just written"), command);
                    if is_modest(&command) {
                        self.apply(&command);
                    }
                }
                Err(refused) => assert!(!refused.to_string().is_empty()),
            }
        }
    }

    pub(super) fn apply(&mut self, command: &Command) {
        self.applied += 1;
        let id = samples::entry(1, self.applied);
        let applied = self.machine.apply(id, Payload::Command(command.encode()));
        assert!(!applied.expect("it was decoded before").0.is_empty());
        self.machine.end_of_round();
        self.check_image();
    }

    /// Every partition is where its topic says.
    fn check_image(&self) {
        let image = self.image();
        let listed: usize = image.topics.values().map(|topic| topic.partitions.len()).sum();
        assert_eq!(listed, image.partitions_total());
        for topic in image.topics.values() {
            assert!(image.topic_by_id(&topic.id).is_some_and(|known| known == topic));
            for (partition, shard) in topic.placed() {
                assert_eq!(image.shard_of(partition), Some(shard));
            }
        }
    }

    pub(super) fn snapshot(&mut self) -> Arc<dyn SnapshotSource> {
        self.machine.snapshot().expect("it needs no disk")
    }

    /// Rows and snapshots say all there is.
    pub(super) fn finish(&mut self) {
        let applied = Some(samples::entry(1, self.applied));
        let state = AppliedState { applied, membership: Bytes::from_static(b"members") };
        self.machine.checkpoint(state.clone()).expect("tables without faults");
        let again = Self::on(self.tables.clone()).expect("what was stored is read");
        assert_eq!(again.image(), self.image());
        assert_eq!(again.machine.applied_state(), state);
        let source = self.snapshot();
        let mut other = Self::fresh();
        let mut receiver = other.machine.receiver(source.manifest()).expect("its own manifest");
        let (have, mut cursor) = (receiver.have(), SnapshotCursor::default());
        while let Some(chunk) = source.chunk(&have, &mut cursor).expect("it needs no disk") {
            receiver.write(chunk).expect("its own chunk");
        }
        receiver.finish().expect("all of it came");
        other.machine.install(state, receiver).expect("its own snapshot");
        assert_eq!(other.image(), self.image());
    }
}

fn is_modest(command: &Command) -> bool {
    match command {
        Command::FormCluster { shards_per_node, .. } => *shards_per_node <= SHARDS_MAX,
        Command::CreateTopic { topic, .. } => {
            topic.partitions <= PARTITIONS_MAX || topic.partitions > 10_000
        }
        Command::AddPartitions { total, .. } => *total <= PARTITIONS_MAX || *total > 10_000,
        Command::RegisterNode(_)
        | Command::CreateShards { .. }
        | Command::DeleteTopic { .. }
        | Command::AlterTopic { .. }
        | Command::AllocateProducerIds { .. }
        | Command::SetPolicy(_)
        | Command::DeletePolicy { .. }
        | Command::SetNodeState { .. }
        | Command::RemoveNode { .. }
        | Command::RebuildNode(_)
        | Command::MoveReplicas(_)
        | Command::SettleShard { .. }
        | Command::PlanMoves(_)
        | Command::MovePartitions { .. }
        | Command::FinishPartitionMove { .. }
        | Command::SetReplication { .. }
        | Command::FinalizeLevel { .. } => true,
    }
}

fn directory(node: u8) -> DirectoryId {
    DirectoryId::from_bytes([node; 16])
}

fn register(node: u8) -> Command {
    Command::RegisterNode(NodeRegistration {
        node: NodeId::new(node.into()),
        directory: directory(node),
        incarnation: Incarnation::new(1),
        starts: StartHistory::first(StartId::from_bytes([node; 16])),
        address_client: format!("host-{node}:9192"),
        address_peer: format!("host-{node}:9292"),
        rack: format!("rack-{}", node % 2),
        version: "0.1.0".to_owned(),
        levels: LevelRange::default(),
    })
}

/// What a new cluster begins with.
pub(super) fn forming() -> Vec<Command> {
    let founder = |node: u8| Founder { node: NodeId::new(node.into()), directory: directory(node) };
    let founders = [1, 2, 3].map(founder).to_vec();
    let cluster = ClusterId::from_bytes([9; 16]);
    let mut commands = vec![Command::FormCluster {
        cluster,
        founders,
        shards_per_node: 2,
        level: FormatLevel::FIRST,
    }];
    commands.extend([1, 2, 3].map(register));
    commands.push(Command::CreateShards { class: 3, rule: Rule::LeastLoaded });
    commands
}

/// What follows on a cluster with shards.
pub(super) fn later() -> Vec<Command> {
    let name = TopicName::new("fees").expect("valid");
    let (topic, rule) = (samples::topic(), Rule::LeastLoaded);
    let setting = |key, value| Setting::parse(key, value).expect("valid");
    let new = NewTopic {
        name: name.clone(),
        id: topic,
        partitions: 5,
        replication: Some(3),
        config: vec![setting("retention-time", "90d"), setting("max-batch-bytes", "2MiB")],
    };
    let set = vec![setting("segment-bytes", "64MiB"), setting("min-acks", "quorum")];
    let (index, shard) = (PartitionIndex::new, ShardId::new);
    vec![
        Command::CreateTopic { topic: new, rule },
        Command::AlterTopic { name: name.clone(), set, reset: vec![ConfigKey::RetentionTime] },
        Command::AddPartitions { topic, total: 9, rule },
        register(4),
        Command::CreateShards { class: 1, rule },
        Command::MovePartitions { topic, to: BTreeMap::from([(index(0), shard(2))]) },
        Command::FinishPartitionMove { topic, partition: index(0), by: MoveId::new(11) },
        Command::SetReplication { topic, replication: 1, rule },
        Command::AllocateProducerIds { count: 1_000 },
        Command::FinalizeLevel { level: FormatLevel::FIRST },
        Command::DeleteTopic { name, id: Some(topic) },
    ]
}

pub(super) fn lines(commands: &[Command]) -> Vec<u8> {
    let lines: Vec<Bytes> = commands.iter().map(Command::encode).collect();
    lines.join(&b'\n')
}

pub(crate) fn seeds() -> Vec<Seed> {
    let life = [forming(), later()].concat();
    vec![
        ("ok-forming", lines(&forming())),
        ("ok-topic", lines(&later()[..3])),
        ("ok-later", lines(&later())),
        ("ok-life", lines(&life)),
    ]
}
