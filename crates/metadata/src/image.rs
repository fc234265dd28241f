//! What every node knows of the cluster: immutable, versioned, shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, MetadataVersion, MoveId, NodeId,
    PartitionId, PartitionIndex, ReplicaId, ShardId, StartId, TopicId, TopicName,
};
use serde::{Deserialize, Serialize};

use crate::policy::Policies;
use crate::sorted_map::SortedMap;
use crate::topic_config::{ConfigKey, TopicConfig};

/// Replicas of a topic that does not say, where there are enough nodes.
pub(crate) const REPLICATION_DEFAULT: u8 = 3;

/// The cluster as of one entry of the metadata group. Never changed, only replaced; copies share
/// topics and partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The log index of the last entry that changed anything; 0 before the first.
    pub version: MetadataVersion,
    /// The cluster; nil until it is formed.
    pub cluster: ClusterId,
    /// Shard leaders each node is to have, fixed when the cluster was formed.
    pub shards_per_node: u32,
    /// The format level the cluster is finalized at. It never falls.
    pub level: FormatLevel,
    /// The nodes that formed the cluster, and the directories they had then.
    pub founders: BTreeMap<NodeId, DirectoryId>,
    /// Every registered node.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Every data shard; the metadata group itself is not among them.
    pub shards: BTreeMap<ShardId, ShardRecord>,
    /// Nodes that were removed, with the directories they had: their ids are never used again.
    pub removed: BTreeMap<NodeId, DirectoryId>,
    /// Moves of replicas that are to be made.
    pub planned: PlannedMoves,
    /// The shard of each coordinator slice (ARCHITECTURE D10); empty until there are shards.
    pub slices: Vec<ShardId>,
    /// What topics inherit by their names.
    pub policies: Arc<Policies>,
    /// Every topic.
    pub topics: SortedMap<TopicName, Arc<TopicRecord>>,
    topic_ids: SortedMap<TopicId, Arc<TopicRecord>>,
    /// Partitions by shard; every shard has an entry.
    hosted: BTreeMap<ShardId, Arc<SortedMap<PartitionId, ()>>>,
    /// Partitions that move to a shard, with their moves.
    arriving: BTreeMap<ShardId, Arc<BTreeMap<PartitionId, PartitionMove>>>,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `host:port` that clients dial.
    pub address_client: String,
    /// `host:port` that other nodes dial.
    pub address_peer: String,
    /// Its data directory.
    pub directory: DirectoryId,
    /// How often it was started, as of the last start that registered.
    pub incarnation: Incarnation,
    /// That start.
    pub start: StartId,
    /// Failure domain; empty when not told.
    pub rack: String,
    /// Its release.
    pub version: String,
    /// The format levels it reads and writes, as of the last start that registered.
    #[serde(default)]
    pub levels: LevelRange,
    /// What it is there for.
    #[serde(default)]
    pub state: NodeState,
    /// When it last got other replicas in place of all it had; none where it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
}

/// A node began anew, under ids that no replica ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Its id in the metadata group since.
    pub replica: ReplicaId,
    /// The start that asked for it.
    pub incarnation: Incarnation,
}

/// What a node is there for. Persisted; never reuse a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Leads and follows.
    #[default]
    Active,
    /// Leads nothing as long as another can: it is to be stopped for a while.
    Drained {
        /// Until when, whatever happens; milliseconds since 1970.
        until_ms: u64,
        /// The start that is to rest, if it is that one alone: the drain is over once the node
        /// registers another. A release that does not know it drains until the time is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<StartId>,
    },
    /// Gives all its replicas away and is removed then.
    Decommissioning,
}

impl NodeState {
    /// Drained until then, whatever is started meanwhile.
    #[must_use]
    pub const fn drained_until(until_ms: u64) -> Self {
        Self::Drained { until_ms, start: None }
    }

    /// Whether it may lead.
    #[must_use]
    pub const fn may_lead(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether it may be given replicas.
    #[must_use]
    pub const fn may_host(self) -> bool {
        !matches!(self, Self::Decommissioning)
    }
}

/// Moves that wait for their turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedMoves {
    /// In the order in which they are to be made; one per shard at most.
    pub moves: Vec<ReplicaMove>,
    /// How many may be under way at once.
    pub at_once: u32,
}

/// Which nodes are to hold a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaMove {
    /// The shard.
    pub shard: ShardId,
    /// The nodes; the first is the preferred leader.
    pub to: Vec<NodeId>,
}

/// A data shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Who replicates it; the first is the preferred leader.
    pub replicas: Vec<(ReplicaId, NodeId)>,
    /// The replication factor it was made for.
    pub class: u8,
    /// Who held it before and is to leave once those above have taken over.
    #[serde(default)]
    pub leaving: Vec<(ReplicaId, NodeId)>,
    /// Who may form the group: those it was made with, until it is known to be formed.
    #[serde(default)]
    pub founding: Vec<(ReplicaId, NodeId)>,
}

impl ShardRecord {
    /// A shard that nobody has formed yet.
    #[must_use]
    pub fn new(replicas: Vec<(ReplicaId, NodeId)>, class: u8) -> Self {
        Self { founding: replicas.clone(), replicas, class, leaving: Vec::new() }
    }

    /// The replica that a node holds, be it one that is to leave: the newest, if it lost others.
    #[must_use]
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        let held = self.replicas.iter().chain(&self.leaving);
        held.filter(|(_, at)| *at == node).map(|(replica, _)| *replica).max()
    }

    /// Replicas that are gone for good: their nodes hold newer ones.
    pub fn lost(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> + '_ {
        let lost = self.leaving.iter().copied();
        lost.filter(|(replica, node)| self.replica_on(*node) > Some(*replica))
    }

    /// Whether a node's replica is to take the place of one that it lost.
    #[must_use]
    pub fn is_rebuilt_on(&self, node: NodeId) -> bool {
        self.lost().any(|(_, at)| at == node)
    }

    /// Nodes that are to hold it and lack nothing of it, without one of them.
    pub fn whole_without(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let others = self.replicas.iter().map(|(_, at)| *at);
        others.filter(move |at| *at != node && !self.is_rebuilt_on(*at))
    }

    /// Whether a majority lacks nothing, even without a node.
    #[must_use]
    pub fn has_majority_without(&self, node: NodeId) -> bool {
        2 * self.whole_without(node).count() > usize::from(self.class)
    }

    /// The nodes that are to hold it, the preferred leader first.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.replicas.iter().map(|(_, node)| *node).collect()
    }

    /// Whether replicas are on the move.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Where its leader should be.
    #[must_use]
    pub fn preferred(&self) -> Option<(ReplicaId, NodeId)> {
        self.replicas.first().copied()
    }
}

/// A partition that is on its way to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionMove {
    /// Tells it from any other move.
    pub id: MoveId,
    /// Where to.
    pub to: ShardId,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its identity: another once the name is created again.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// The shard of each partition, by index.
    pub partitions: Vec<ShardId>,
    /// How many it was created with: those behind were added later. 0 where an older release
    /// did not note it.
    #[serde(default)]
    pub partitions_first: u32,
    /// Replicas of each partition.
    pub replication: u8,
    /// Its settings, without what it inherits from policies.
    pub config: TopicConfig,
    /// The keys it sets itself; none where an older release did not note them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<BTreeSet<ConfigKey>>,
    /// Whether it is or ever was compacted: its replicas may differ in superseded records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_compacted: bool,
    /// Partitions on their way to another shard.
    #[serde(default, with = "crate::pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub moves: BTreeMap<PartitionIndex, PartitionMove>,
    /// The moves that brought partitions to where they are.
    #[serde(default, with = "crate::pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<PartitionIndex, MoveId>,
}

impl TopicRecord {
    /// Every partition with its shard, by index.
    pub fn placed(&self) -> impl Iterator<Item = (PartitionId, ShardId)> + '_ {
        (0..)
            .zip(&self.partitions)
            .map(|(index, shard)| (PartitionId::new(self.id, PartitionIndex::new(index)), *shard))
    }

    /// The partitions on their way to another shard.
    pub fn moving(&self) -> impl Iterator<Item = (PartitionId, PartitionMove)> + '_ {
        self.moves.iter().map(|(index, moving)| (PartitionId::new(self.id, *index), *moving))
    }
}

impl Image {
    /// The topic of a name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<TopicRecord>> {
        self.topics.get(name)
    }

    /// The topic of an id.
    #[must_use]
    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<TopicRecord>> {
        self.topic_ids.get(id)
    }

    /// The shard that hosts a partition.
    #[must_use]
    pub fn shard_of(&self, partition: PartitionId) -> Option<ShardId> {
        let topic = self.topic_by_id(&partition.topic)?;
        let at = usize::try_from(partition.index.get()).ok()?;
        topic.partitions.get(at).copied()
    }

    /// The partitions a shard hosts, in order, each with its topic.
    pub fn partitions_of(
        &self,
        shard: ShardId,
    ) -> impl Iterator<Item = (PartitionId, &Arc<TopicRecord>)> {
        let hosted = self.hosted.get(&shard);
        hosted
            .into_iter()
            .flat_map(|hosted| hosted.keys())
            .filter_map(|partition| Some((*partition, self.topic_by_id(&partition.topic)?)))
    }

    /// The partitions that move to a shard, in order.
    pub fn arriving_at(
        &self,
        shard: ShardId,
    ) -> impl Iterator<Item = (PartitionId, PartitionMove)> + '_ {
        let arriving = self.arriving.get(&shard).into_iter();
        arriving
            .flat_map(|arriving| arriving.iter())
            .map(|(partition, moving)| (*partition, *moving))
    }

    /// How many partitions are on their way.
    #[must_use]
    pub fn partitions_moving(&self) -> usize {
        self.arriving.values().map(|arriving| arriving.len()).sum()
    }

    /// The move that a partition is on.
    #[must_use]
    pub fn move_of(&self, partition: PartitionId) -> Option<PartitionMove> {
        self.topic_by_id(&partition.topic)?.moves.get(&partition.index).copied()
    }

    /// The move that brought a partition to its shard, or is bringing it to this one.
    #[must_use]
    pub fn brought_by(&self, partition: PartitionId, shard: ShardId) -> Option<MoveId> {
        let topic = self.topic_by_id(&partition.topic)?;
        let coming = topic.moves.get(&partition.index).filter(|moving| moving.to == shard);
        coming.map(|moving| moving.id).or_else(|| topic.arrived.get(&partition.index).copied())
    }

    /// How many partitions a shard hosts.
    #[must_use]
    pub fn partition_count(&self, shard: ShardId) -> usize {
        self.hosted.get(&shard).map_or(0, |hosted| hosted.len())
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions_total(&self) -> usize {
        self.hosted.values().map(|hosted| hosted.len()).sum()
    }

    /// The shard that keeps a consumer group; `None` while the cluster forms. Never another one
    /// for the same name: slices are fixed when the first shards are made.
    #[must_use]
    pub fn coordinator_shard(&self, group: &str) -> Option<ShardId> {
        let count = u32::try_from(self.slices.len()).ok().filter(|count| *count > 0)?;
        let slice = crc32c::crc32c(group.as_bytes()) % count;
        self.slices.get(usize::try_from(slice).ok()?).copied()
    }

    /// The shards made for a replication factor.
    pub fn shards_of_class(&self, class: u8) -> impl Iterator<Item = (ShardId, &ShardRecord)> {
        let shards = self.shards.iter();
        shards.filter(move |(_, shard)| shard.class == class).map(|(id, shard)| (*id, shard))
    }

    /// Replicas of a topic that does not say: three, or as many as there are nodes.
    #[must_use]
    pub fn default_replication(&self) -> u8 {
        let known = |node: &&NodeId| !self.removed.contains_key(*node);
        let founders = self.founders.keys().filter(known).count();
        let nodes = self.nodes.len().max(founders);
        u8::try_from(nodes).map_or(REPLICATION_DEFAULT, |nodes| nodes.min(REPLICATION_DEFAULT))
    }

    /// Whether the cluster has been formed.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.cluster != ClusterId::default()
    }

    /// Nodes that may hold replicas.
    pub fn hosts(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        let hosts = self.nodes.iter().filter(|(_, record)| record.state.may_host());
        hosts.map(|(node, record)| (*node, record))
    }

    /// Shards of which a node holds a replica, be it one that is to leave.
    pub fn shards_on(&self, node: NodeId) -> impl Iterator<Item = (ShardId, &ShardRecord)> {
        let held = self.shards.iter().filter(move |(_, shard)| shard.replica_on(node).is_some());
        held.map(|(id, shard)| (*id, shard))
    }

    /// The id that a node has in the metadata group; none of nodes that have not registered.
    #[must_use]
    pub fn metadata_replica(&self, node: NodeId) -> Option<ReplicaId> {
        let record = self.nodes.get(&node)?;
        Some(record.rebuilt.map_or_else(|| ReplicaId::new(node.get()), |rebuilt| rebuilt.replica))
    }

    /// The directory a node must have: as registered, or as it was when the cluster was formed.
    #[must_use]
    pub fn known_directory(&self, node: NodeId) -> Option<DirectoryId> {
        let registered = self.nodes.get(&node).map(|record| record.directory);
        registered.or_else(|| self.founders.get(&node).copied())
    }

    /// Adds a shard without partitions.
    pub fn insert_shard(&mut self, id: ShardId, shard: ShardRecord) {
        self.shards.insert(id, shard);
        self.hosted.entry(id).or_default();
    }

    /// Adds a topic, or replaces one of the same name and id that has no partition beside these.
    pub fn insert_topic(&mut self, topic: Arc<TopicRecord>) {
        if let Some(before) = self.topics.get(&topic.name).cloned() {
            self.forget_moves(&before);
            // Most changes move nothing: partitions by shard are shared with the images before.
            let placed = before.placed().zip(&topic.partitions);
            for ((partition, from), _) in placed.filter(|((_, from), to)| from != *to) {
                self.remove_hosted(partition, from);
            }
        }
        for (partition, moving) in topic.moving() {
            Arc::make_mut(self.arriving.entry(moving.to).or_default()).insert(partition, moving);
        }
        for (partition, shard) in topic.placed() {
            let hosted = self.hosted.entry(shard).or_default();
            if !hosted.contains_key(&partition) {
                Arc::make_mut(hosted).insert(partition, ());
            }
        }
        self.topic_ids.insert(topic.id, Arc::clone(&topic));
        self.topics.insert(topic.name.clone(), topic);
    }

    /// Removes a topic with all its partitions.
    pub fn remove_topic(&mut self, name: &TopicName) -> Option<Arc<TopicRecord>> {
        let topic = self.topics.remove(name)?;
        self.topic_ids.remove(&topic.id);
        self.forget_moves(&topic);
        for (partition, shard) in topic.placed() {
            self.remove_hosted(partition, shard);
        }
        Some(topic)
    }

    fn remove_hosted(&mut self, partition: PartitionId, shard: ShardId) {
        if let Some(hosted) = self.hosted.get_mut(&shard) {
            Arc::make_mut(hosted).remove(&partition);
        }
    }

    fn forget_moves(&mut self, topic: &TopicRecord) {
        for (partition, moving) in topic.moving() {
            if let Some(arriving) = self.arriving.get_mut(&moving.to) {
                Arc::make_mut(arriving).remove(&partition);
                if arriving.is_empty() {
                    self.arriving.remove(&moving.to);
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node of which only the state matters.
    pub(crate) fn node_record(state: NodeState) -> NodeRecord {
        NodeRecord {
            address_client: String::new(),
            address_peer: String::new(),
            directory: DirectoryId::default(),
            incarnation: Incarnation::default(),
            start: StartId::default(),
            rack: String::new(),
            version: String::new(),
            levels: LevelRange::default(),
            state,
            rebuilt: None,
        }
    }

    fn topic(name: &str, id: u8, shards: &[u32]) -> Arc<TopicRecord> {
        Arc::new(TopicRecord {
            id: TopicId::from_bytes([id; 16]),
            name: TopicName::new(name).expect("valid"),
            partitions: shards.iter().copied().map(ShardId::new).collect(),
            partitions_first: 0,
            replication: 3,
            config: TopicConfig::default(),
            own: None,
            was_compacted: false,
            moves: BTreeMap::new(),
            arrived: BTreeMap::new(),
        })
    }

    #[test]
    fn a_partition_that_moves_is_found_where_it_comes_from_until_it_has_arrived() {
        let mut image = Image::default();
        image.insert_topic(topic("a", 1, &[1, 1]));
        let partition = PartitionId::new(TopicId::from_bytes([1; 16]), PartitionIndex::new(1));
        let to = PartitionMove { id: MoveId::new(5), to: ShardId::new(2) };
        let mut moving = TopicRecord::clone(&topic("a", 1, &[1, 1]));
        moving.moves.insert(partition.index, to);
        image.insert_topic(Arc::new(moving.clone()));
        assert_eq!(image.arriving_at(to.to).collect::<Vec<_>>(), [(partition, to)]);
        assert_eq!(image.shard_of(partition), Some(ShardId::new(1)));
        assert_eq!(image.brought_by(partition, to.to), Some(to.id));
        assert_eq!(image.brought_by(partition, ShardId::new(1)), None);
        moving.moves.clear();
        moving.partitions[1] = to.to;
        moving.arrived.insert(partition.index, to.id);
        image.insert_topic(Arc::new(moving));
        assert_eq!(image.arriving_at(to.to).count(), 0);
        assert_eq!((image.partition_count(ShardId::new(1)), image.partition_count(to.to)), (1, 1));
        assert_eq!(image.brought_by(partition, to.to), Some(to.id));
        assert_eq!(image.partitions_moving(), 0);
    }

    #[test]
    fn partitions_are_found_by_topic_and_by_shard() {
        let mut image = Image::default();
        image.insert_topic(topic("a", 1, &[1, 2, 1]));
        image.insert_topic(topic("b", 2, &[2]));
        let of = |image: &Image, shard| -> Vec<String> {
            let partitions = image.partitions_of(ShardId::new(shard));
            partitions.map(|(id, topic)| format!("{}-{}", topic.name, id.index)).collect()
        };
        assert_eq!(of(&image, 1), ["a-0", "a-2"]);
        assert_eq!(of(&image, 2), ["a-1", "b-0"]);
        assert_eq!(image.partitions_total(), 4);
        let first = PartitionId::new(TopicId::from_bytes([1; 16]), PartitionIndex::new(1));
        assert_eq!(image.shard_of(first), Some(ShardId::new(2)));
        let name = TopicName::new("a").expect("valid");
        let before = image.clone();
        image.insert_topic(topic("a", 1, &[1, 2, 1, 2]));
        assert_eq!(of(&image, 2), ["a-1", "a-3", "b-0"], "one more");
        assert_eq!(image.partitions_total(), 5);
        image.remove_topic(&name);
        assert_eq!(of(&image, 2), ["b-0"]);
        assert_eq!(image.shard_of(first), None);
        assert_eq!(of(&before, 2), ["a-1", "b-0"], "the image before stands still");
    }
}
