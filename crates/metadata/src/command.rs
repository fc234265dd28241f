//! What the metadata group agrees on, and what it answers.
//!
//! Commands and answers are JSON: few, small, and readable in a dump of the journal. A command of
//! an unknown kind or version stops the node instead of being skipped, for replicas that skip
//! differently are no replicas; so a new command is sent only once every node reads it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, MetadataVersion, MoveId, NodeId,
    PartitionIndex, ProducerId, ReplicaId, ShardId, StartHistory, TopicId, TopicName,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::Founder;
use crate::image::{NodeState, PlannedMoves, ReplicaMove, ShardRecord, TopicRecord};
use crate::placement::Rule;
use crate::policy::{Policy, TopicPattern};
use crate::refusal::Refusal;
use crate::topic_config::{ConfigKey, InvalidConfig, Setting};

/// The layout of commands and answers. Persisted; never reuse.
const VERSION: u32 = 1;

/// A change. Names of variants and fields are persisted; never reuse one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Gives the cluster its identity: the first command of all. Again with the same id: nothing.
    FormCluster {
        /// Its id.
        cluster: ClusterId,
        /// The nodes that form it.
        founders: Vec<Founder>,
        /// Shard leaders each node is to have.
        shards_per_node: u32,
        /// What it is finalized at from the beginning.
        #[serde(default)]
        level: FormatLevel,
    },
    /// A node has started.
    RegisterNode(NodeRegistration),
    /// Makes shards of a class until every node leads its share of them.
    CreateShards {
        /// The replication factor.
        class: u8,
        /// How nodes are chosen.
        rule: Rule,
    },
    /// Makes a topic, with shards of its class if there are none.
    CreateTopic {
        /// What to make.
        topic: NewTopic,
        /// How shards are chosen.
        rule: Rule,
    },
    /// Removes a topic.
    DeleteTopic {
        /// Its name.
        name: TopicName,
        /// Its id, if only that one is meant.
        id: Option<TopicId>,
    },
    /// Changes settings of a topic, all of them or none.
    AlterTopic {
        /// Its name.
        name: TopicName,
        /// To set.
        set: Vec<Setting>,
        /// To set back to their defaults.
        reset: Vec<ConfigKey>,
    },
    /// Gives a topic more partitions. As many as it has already: nothing.
    AddPartitions {
        /// Its id: a topic created again under the same name is not meant.
        topic: TopicId,
        /// How many it is to have, those it has included.
        total: u32,
        /// How shards are chosen.
        rule: Rule,
    },
    /// Says what topics of a pattern inherit, in place of what was said before.
    SetPolicy(Policy),
    /// Removes the policy of a pattern.
    DeletePolicy {
        /// The pattern.
        pattern: TopicPattern,
    },
    /// Takes producer ids out of the supply.
    AllocateProducerIds {
        /// How many.
        count: u64,
    },
    /// Says what a node is there for.
    SetNodeState {
        /// The node.
        node: NodeId,
        /// From now on.
        state: NodeState,
    },
    /// Forgets a node that holds nothing any more. Again: nothing.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Gives a node other replicas in place of those that forgot what they promised.
    RebuildNode(NodeRebuild),
    /// Begins to move replicas of a shard. To where they are: nothing.
    MoveReplicas(ReplicaMove),
    /// A shard's group consists of these replicas: those that were to leave have left.
    SettleShard {
        /// The shard.
        shard: ShardId,
        /// The voters of its group; no other member is left.
        replicas: BTreeSet<ReplicaId>,
    },
    /// Replaces the plan of moves.
    PlanMoves(PlannedMoves),
    /// Begins to move partitions of a topic to other shards with as many replicas. To where they
    /// are: nothing, but a move that was under way is called off.
    MovePartitions {
        /// Its id.
        topic: TopicId,
        /// Which, and where to.
        #[serde(with = "crate::pairs")]
        to: BTreeMap<PartitionIndex, ShardId>,
    },
    /// A partition has arrived: its shard is the other one from now on.
    FinishPartitionMove {
        /// Its topic.
        topic: TopicId,
        /// Which.
        partition: PartitionIndex,
        /// The move. One that was called off meanwhile is refused.
        by: MoveId,
    },
    /// Gives a topic another number of replicas: its partitions begin to move to shards that have
    /// as many.
    SetReplication {
        /// Its id.
        topic: TopicId,
        /// How many.
        replication: u8,
        /// How shards are chosen.
        rule: Rule,
    },
    /// From now on nodes may write the formats of a level. As it is already: nothing.
    FinalizeLevel {
        /// The level.
        level: FormatLevel,
    },
}

/// What a node says of itself at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRegistration {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// How often it was started.
    pub incarnation: Incarnation,
    /// The starts it remembers.
    pub starts: StartHistory,
    /// `host:port` that clients dial.
    pub address_client: String,
    /// `host:port` that other nodes dial.
    pub address_peer: String,
    /// Failure domain; empty when not told.
    pub rack: String,
    /// Its release.
    pub version: String,
    /// The format levels it reads and writes.
    #[serde(default)]
    pub levels: LevelRange,
}

/// What a node asks for that cannot read its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRebuild {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its start: a request of an earlier one comes too late.
    pub incarnation: Incarnation,
    /// Shards of which a majority is known to be there without the node. None: a question, which
    /// changes nothing.
    pub shards: Option<BTreeSet<ShardId>>,
}

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id, made by whoever asks: asking again with the same id makes no second topic.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each; none for the cluster's default.
    pub replication: Option<u8>,
    /// Settings other than the defaults.
    pub config: Vec<Setting>,
}

impl NewTopic {
    /// A topic with an id of its own. Settings are texts by key, as users write them.
    ///
    /// # Errors
    /// The first setting, in order of key, that is not valid on its own.
    pub fn parse(
        name: TopicName,
        partitions: u32,
        replication: Option<u8>,
        config: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, InvalidConfig> {
        let config = parse_settings(config)?;
        Ok(Self { name, id: TopicId::new(Uuid::new_v4()), partitions, replication, config })
    }
}

/// Parses settings given as texts by key, in order of key.
///
/// # Errors
/// The first that is not valid on its own.
pub fn parse_settings(
    config: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> Result<Vec<Setting>, InvalidConfig> {
    let sorted: BTreeMap<String, String> = config
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned()))
        .collect();
    sorted.iter().map(|(key, value)| Setting::parse(key, value)).collect()
}

/// Parses the keys of settings.
///
/// # Errors
/// The first that does not exist.
pub fn parse_keys(
    keys: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<ConfigKey>, InvalidConfig> {
    keys.into_iter().map(|key| ConfigKey::parse(key.as_ref())).collect()
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The cluster has its identity.
    Formed,
    /// The node is registered.
    Registered,
    /// Shards were made; none if every node had its share.
    ShardsCreated(Vec<ShardId>),
    /// The topic exists.
    TopicCreated(TopicRecord),
    /// The topic is gone.
    TopicDeleted {
        /// Its id.
        id: TopicId,
    },
    /// The topic as it is now.
    TopicAltered(TopicRecord),
    /// The topic has so many partitions; none was added if it had them before.
    PartitionsAdded {
        /// The topic as it is now.
        topic: TopicRecord,
        /// How many it had.
        before: u32,
    },
    /// The policy stands.
    PolicySet(Policy),
    /// The policy is gone; this is what it was.
    PolicyDeleted(Policy),
    /// Ids `[first, first + count)` belong to the caller.
    ProducerIds {
        /// The first.
        first: ProducerId,
        /// How many.
        count: u64,
    },
    /// The node is what it was said to be.
    NodeStateSet,
    /// The node is gone.
    NodeRemoved,
    /// The node may have other replicas, or has them.
    NodeRebuilding {
        /// Its id in the metadata group from now on; none if that was only asked.
        replica: Option<ReplicaId>,
    },
    /// The shard as it is now.
    ReplicasMoving(ShardRecord),
    /// The shard as it is now.
    ShardSettled(ShardRecord),
    /// The plan stands.
    MovesPlanned,
    /// The topic as it is now; its partitions move.
    PartitionsMoving(TopicRecord),
    /// The partition's shard is the other one.
    PartitionArrived,
    /// The cluster is finalized at the level.
    LevelFinalized {
        /// What it was at before.
        before: FormatLevel,
    },
}

/// A command's bytes are unreadable, or of a newer release.
#[derive(Debug, thiserror::Error)]
#[error(
    "a metadata command is damaged or of a newer release ({0}): install the release that the \
     other nodes have"
)]
pub struct UnknownCommand(String);

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, Deserialize)]
struct CommandBody<C> {
    command: C,
}

impl Command {
    /// The replicated form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(CommandBody { command: self })
    }

    /// The command of its replicated form.
    ///
    /// # Errors
    /// [`UnknownCommand`]: the replica cannot go on.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnknownCommand> {
        decode::<CommandBody<Self>>(bytes).map(|body| body.command).map_err(UnknownCommand)
    }
}

/// What goes back to the proposer, over other nodes too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The image that shows the outcome.
    pub(crate) version: MetadataVersion,
    /// What came of it.
    pub(crate) result: Result<Outcome, Refusal>,
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        decode(bytes)
    }
}

fn encode(body: impl Serialize) -> Bytes {
    let envelope = Envelope { v: VERSION, body };
    Bytes::from(serde_json::to_vec(&envelope).expect("texts, numbers and lists have a JSON form"))
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let envelope: Envelope<T> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if envelope.v == VERSION {
        Ok(envelope.body)
    } else {
        Err(format!("version {}, this release reads {VERSION}", envelope.v))
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::StartId;

    use super::*;
    use crate::image::PartitionMove;
    use crate::topic_config::TopicConfig;

    /// The bytes in the journal, spelled out: a change here is a new version.
    #[test]
    fn the_replicated_form_is_the_documented_one() {
        let command = Command::CreateTopic {
            topic: NewTopic {
                name: TopicName::new("fees").expect("valid"),
                id: TopicId::from_bytes([0xab; 16]),
                partitions: 12,
                replication: None,
                config: vec![Setting::parse("retention-time", "90d").expect("valid")],
            },
            rule: Rule::LeastLoaded,
        };
        let text = concat!(
            r#"{"v":1,"command":{"create-topic":{"topic":{"name":"fees","#,
            r#""id":"abababab-abab-abab-abab-abababababab","partitions":12,"replication":null,"#,
            r#""config":[{"key":"retention-time","value":"90d"}]},"rule":"least-loaded"}}}"#,
        );
        assert_eq!(command.encode(), text.as_bytes());
        assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
    }

    #[test]
    fn the_replicated_form_of_more_partitions_is_the_documented_one() {
        let topic = TopicId::from_bytes([0xab; 16]);
        let command = Command::AddPartitions { topic, total: 12, rule: Rule::LeastLoaded };
        let text = concat!(
            r#"{"v":1,"command":{"add-partitions":{"#,
            r#""topic":"abababab-abab-abab-abab-abababababab","total":12,"#,
            r#""rule":"least-loaded"}}}"#,
        );
        assert_eq!(command.encode(), text.as_bytes());
        assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
    }

    #[test]
    fn the_replicated_form_of_policies_is_the_documented_one() {
        let pattern = TopicPattern::new("healthtech.*").expect("valid");
        let settings = [Setting::parse("retention-time", "90d").expect("valid")];
        let set = Command::SetPolicy(Policy::new(pattern.clone(), settings).expect("valid"));
        let text = concat!(
            r#"{"v":1,"command":{"set-policy":{"pattern":"healthtech.*","#,
            r#""settings":[{"key":"retention-time","value":"90d"}]}}}"#,
        );
        let delete = Command::DeletePolicy { pattern };
        let deleted = r#"{"v":1,"command":{"delete-policy":{"pattern":"healthtech.*"}}}"#;
        for (command, text) in [(set, text), (delete, deleted)] {
            assert_eq!(command.encode(), text.as_bytes());
            assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
        }
    }

    #[test]
    fn the_replicated_form_of_moves_is_the_documented_one() {
        let topic = TopicId::from_bytes([0xab; 16]);
        let to = BTreeMap::from([
            (PartitionIndex::new(0), ShardId::new(5)),
            (PartitionIndex::new(10), ShardId::new(6)),
        ]);
        let (partition, by) = (PartitionIndex::new(0), MoveId::new(7));
        let id = "abababab-abab-abab-abab-abababababab";
        let cases = [
            (
                Command::MovePartitions { topic, to },
                r#"move-partitions":{"topic":"@","to":[[0,5],[10,6]]}"#,
            ),
            (
                Command::FinishPartitionMove { topic, partition, by },
                r#"finish-partition-move":{"topic":"@","partition":0,"by":7}"#,
            ),
            (
                Command::SetReplication { topic, replication: 5, rule: Rule::LeastLoaded },
                r#"set-replication":{"topic":"@","replication":5,"rule":"least-loaded"}"#,
            ),
        ];
        for (command, body) in cases {
            let text = format!(r#"{{"v":1,"command":{{"{}}}}}"#, body.replace('@', id));
            assert_eq!(command.encode(), text.as_bytes());
            assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
        }
    }

    #[test]
    fn the_replicated_form_of_a_drain_is_the_documented_one() {
        let node = NodeId::new(2);
        let start = Some(StartId::from_bytes([0xe7; 16]));
        let cases = [
            (NodeState::drained_until(9), r#"{"until_ms":9}"#.to_owned()),
            (
                NodeState::Drained { until_ms: 9, start },
                format!(r#"{{"until_ms":9,"start":{}}}"#, serde_json::json!(start)),
            ),
        ];
        for (state, body) in cases {
            let command = Command::SetNodeState { node, state };
            let text = format!(
                r#"{{"v":1,"command":{{"set-node-state":{{"node":2,"state":{{"drained":{body}}}}}}}}}"#
            );
            assert_eq!(command.encode(), text.as_bytes());
            assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
        }
    }

    #[test]
    fn the_replicated_form_of_a_rebuild_is_the_documented_one() {
        let request = NodeRebuild {
            node: NodeId::new(2),
            directory: DirectoryId::from_bytes([0xd2; 16]),
            incarnation: Incarnation::new(7),
            shards: Some([1, 4].map(ShardId::new).into()),
        };
        let text = concat!(
            r#"{"v":1,"command":{"rebuild-node":{"node":2,"#,
            r#""directory":"d2d2d2d2-d2d2-d2d2-d2d2-d2d2d2d2d2d2","incarnation":7,"#,
            r#""shards":[1,4]}}}"#,
        );
        let command = Command::RebuildNode(request);
        assert_eq!(command.encode(), text.as_bytes());
        assert_eq!(Command::decode(text.as_bytes()).expect("decode"), command);
    }

    #[test]
    fn what_is_not_a_known_command_is_an_error() {
        for text in [
            "",
            "{}",
            r#"{"v":2,"command":{"allocate-producer-ids":{"count":1}}}"#,
            r#"{"v":1,"command":{"from-the-future":{}}}"#,
            r#"{"v":1,"command":{"allocate-producer-ids":{"count":1,"twice":true}}}"#,
            r#"{"v":1,"command":{"allocate-producer-ids":{"count":-1}}}"#,
            r#"{"v":1,"command":{"create-topic":{"topic":{"name":"a b","id":"abababab-abab-abab-abab-abababababab","partitions":1,"replication":null,"config":[]},"rule":"least-loaded"}}}"#,
        ] {
            let refused = Command::decode(text.as_bytes()).expect_err(text);
            assert!(refused.to_string().contains("newer release"), "{refused}");
        }
    }

    #[test]
    fn answers_come_back() {
        let moving = TopicRecord {
            id: TopicId::from_bytes([1; 16]),
            name: TopicName::new("fees").expect("valid"),
            partitions: vec![ShardId::new(1), ShardId::new(2)],
            partitions_first: 2,
            replication: 3,
            config: TopicConfig::for_replication(3),
            own: None,
            was_compacted: false,
            moves: BTreeMap::from([(
                PartitionIndex::new(1),
                PartitionMove { id: MoveId::new(9), to: ShardId::new(4) },
            )]),
            arrived: BTreeMap::from([(PartitionIndex::new(0), MoveId::new(8))]),
        };
        for result in [
            Ok(Outcome::PartitionsMoving(moving)),
            Ok(Outcome::ProducerIds { first: ProducerId::new(1000), count: 1000 }),
            Err(Refusal::NotFormed),
            Err(Refusal::InvalidPartitions { given: 0 }),
        ] {
            let answer = Answer { version: MetadataVersion::new(7), result };
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }
}
