//! What a command does to the metadata. Pure: no clock, no chance, no I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_types::{
    MetadataVersion, NodeId, ProducerId, ReplicaId, ShardId, TopicId, TopicName, limits,
};

use crate::command::{Command, NewTopic, NodeRegistration, Outcome};
use crate::identity::Founder;
use crate::image::{Image, NodeRecord, ShardRecord, TopicRecord};
use crate::placement::{self, Placed, Rule, Site};
use crate::policy::{POLICIES_MAX, Policy};
use crate::refusal::Refusal;
use crate::topic_config::{ConfigKey, InvalidConfig, Setting, TopicConfig};

mod levels;
mod moves;
mod nodes;
mod partition_moves;
mod rebuild;
#[cfg(test)]
mod tests;

/// Replica ids below are node ids, in the metadata group; those of data shards are allocated from
/// here on and never used twice.
pub const REPLICA_ID_FIRST: u64 = 1 << 32;
/// Producer ids of one command.
pub const PRODUCER_IDS_MAX: u64 = 1_000_000;

/// The replicated state: the image, and the counters that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What every node may know.
    pub image: Image,
    pub(crate) next_shard: u32,
    pub(crate) next_replica: u64,
    pub(crate) next_producer: i64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            image: Image::default(),
            next_shard: ShardId::METADATA.get() + 1,
            next_replica: REPLICA_ID_FIRST,
            next_producer: 1,
        }
    }
}

/// Applies one command. A refusal leaves the state as it was.
///
/// # Errors
/// [`Refusal`]: every replica refuses alike.
pub fn apply(
    state: &mut State,
    version: MetadataVersion,
    command: Command,
) -> Result<Outcome, Refusal> {
    let outcome = match command {
        Command::FormCluster { cluster, founders, shards_per_node, level } => {
            let known = state.image.cluster;
            if state.image.is_formed() {
                return if known == cluster {
                    Ok(Outcome::Formed)
                } else {
                    Err(Refusal::WrongCluster { known, given: cluster })
                };
            }
            state.image.cluster = cluster;
            state.image.shards_per_node = shards_per_node;
            state.image.level = level;
            state.image.founders =
                founders.iter().map(|Founder { node, directory }| (*node, *directory)).collect();
            Outcome::Formed
        }
        Command::RegisterNode(registration) => register(&mut state.image, registration)?,
        Command::CreateShards { class, rule } => {
            check_replication(&state.image, class)?;
            Outcome::ShardsCreated(create_shards(state, class, rule))
        }
        Command::CreateTopic { topic, rule } => return create_topic(state, version, topic, rule),
        Command::DeleteTopic { name, id } => {
            let known = find(&state.image, &name)?.id;
            if let Some(given) = id.filter(|given| *given != known) {
                return Err(Refusal::StaleTopicId { name, given, known });
            }
            state.image.remove_topic(&name);
            Outcome::TopicDeleted { id: known }
        }
        Command::AlterTopic { name, set, reset } => {
            let topic = altered(find(&state.image, &name)?, &set, &reset)?;
            state.image.insert_topic(Arc::new(topic.clone()));
            Outcome::TopicAltered(topic)
        }
        Command::AddPartitions { topic, total, rule } => {
            return add_partitions(state, version, topic, total, rule);
        }
        Command::SetPolicy(policy) => Outcome::PolicySet(set_policy(&mut state.image, policy)?),
        Command::DeletePolicy { pattern } => {
            if state.image.policies.get(&pattern).is_none() {
                return Err(Refusal::UnknownPolicy { pattern });
            }
            let removed = Arc::make_mut(&mut state.image.policies).remove(&pattern);
            Outcome::PolicyDeleted(removed.expect("it was there"))
        }
        // No image shows the counter: the version stays.
        Command::AllocateProducerIds { count } => return allocate_producer_ids(state, count),
        Command::SetNodeState { node, state: duty } => {
            nodes::set_state(&mut state.image, node, duty)?
        }
        Command::RemoveNode { node } => nodes::remove(&mut state.image, node)?,
        // A question changes nothing.
        Command::RebuildNode(request) if request.shards.is_none() => {
            return rebuild::rebuild(state, &request);
        }
        Command::RebuildNode(request) => rebuild::rebuild(state, &request)?,
        Command::MoveReplicas(to) => moves::begin(state, &to)?,
        Command::SettleShard { shard, replicas } => {
            moves::settle(&mut state.image, shard, &replicas)?
        }
        Command::PlanMoves(planned) => moves::plan(&mut state.image, planned)?,
        Command::MovePartitions { topic, to } => {
            return partition_moves::begin(&mut state.image, version, topic, &to);
        }
        Command::FinishPartitionMove { topic, partition, by } => {
            partition_moves::finish(&mut state.image, topic, (partition, by))?
        }
        Command::SetReplication { topic, replication, rule } => {
            return partition_moves::replicate(state, version, (topic, replication), rule);
        }
        Command::FinalizeLevel { level } => {
            return levels::finalize(&mut state.image, version, level);
        }
    };
    state.image.version = version;
    Ok(outcome)
}

fn find<'a>(image: &'a Image, name: &TopicName) -> Result<&'a Arc<TopicRecord>, Refusal> {
    image.topic(name).ok_or_else(|| Refusal::UnknownTopic { name: name.clone() })
}

fn register(image: &mut Image, new: NodeRegistration) -> Result<Outcome, Refusal> {
    let node = new.node;
    if image.removed.contains_key(&node) {
        return Err(Refusal::NodeRemoved { node });
    }
    check_directory(image, &new)?;
    levels::check(image, &new)?;
    let known = image.nodes.get(&node);
    let state = known.map(|known| known.state).unwrap_or_default();
    let rebuilt = known.and_then(|known| known.rebuilt);
    let record = NodeRecord {
        state,
        rebuilt,
        address_client: new.address_client,
        address_peer: new.address_peer,
        directory: new.directory,
        incarnation: new.incarnation,
        start: new.starts.present(),
        rack: new.rack,
        version: new.version,
        levels: new.levels,
    };
    image.nodes.insert(node, record);
    Ok(Outcome::Registered)
}

/// A node id belongs to one directory, a directory to one node id, and only its latest state
/// counts (RELIABILITY §5.6).
fn check_directory(image: &Image, new: &NodeRegistration) -> Result<(), Refusal> {
    let (node, given) = (new.node, new.directory);
    if let Some(known) = image.known_directory(node).filter(|known| *known != given) {
        return Err(Refusal::NodeIdTaken { node, known, given });
    }
    let latest = image.nodes.get(&node);
    let is_ahead = |latest: &&NodeRecord| !new.starts.follows(latest.incarnation, latest.start);
    if let Some(latest) = latest.filter(is_ahead) {
        let (known, given) = (latest.incarnation, new.incarnation);
        return Err(Refusal::OldDirectory { node, known, given });
    }
    let registered = image.nodes.iter().map(|(node, record)| (*node, record.directory));
    let founders = image.founders.iter().map(|(node, directory)| (*node, *directory));
    let removed = image.removed.iter().map(|(node, directory)| (*node, *directory));
    let known = registered.chain(founders).chain(removed);
    let owner = known.into_iter().find(|(owner, of)| *of == given && *owner != node);
    match owner {
        Some((known, directory)) => Err(Refusal::DirectoryTaken { directory, known, given: node }),
        None => Ok(()),
    }
}

fn check_replication(image: &Image, given: u8) -> Result<(), Refusal> {
    let nodes = image.hosts().count();
    let max = u8::try_from(nodes).unwrap_or(u8::MAX).min(limits::REPLICATION_MAX);
    if (1..=max).contains(&given) {
        return Ok(());
    }
    Err(Refusal::InvalidReplication { given, max, nodes })
}

/// Makes the shards that the class lacks.
fn create_shards(state: &mut State, class: u8, rule: Rule) -> Vec<ShardId> {
    let sets = missing_shards(&state.image, class, rule);
    let created = sets.into_iter().map(|set| add_shard(state, class, &set)).collect();
    place_slices(&mut state.image);
    created
}

/// Spreads the coordinator's slices over the first shards of the default class, once and for all.
fn place_slices(image: &mut Image) {
    if !image.slices.is_empty() {
        return;
    }
    let shards = image.shards_of_class(image.default_replication()).map(|(id, _)| id);
    let shards: Vec<ShardId> = shards.collect();
    let slices = limits::COORDINATOR_SLICES;
    image.slices = shards.into_iter().cycle().take(usize::try_from(slices).unwrap_or(0)).collect();
}

/// Where replicas may be placed.
pub(crate) fn sites(image: &Image) -> Vec<Site> {
    let hosts = image.hosts();
    hosts.map(|(node, record)| Site { node, rack: record.rack.clone() }).collect()
}

/// Replica sets that would give every node its share of a class.
pub(crate) fn missing_shards(image: &Image, class: u8, rule: Rule) -> Vec<Vec<NodeId>> {
    let existing = image.shards.values();
    let existing: Vec<Placed> =
        existing.map(|shard| Placed { class: shard.class, nodes: shard.nodes() }).collect();
    let sites = sites(image);
    placement::shards(rule, &sites, &existing, class, image.shards_per_node)
}

pub(crate) fn add_shard(state: &mut State, class: u8, set: &[NodeId]) -> ShardId {
    let id = ShardId::new(state.next_shard);
    state.next_shard += 1;
    let replicas = set.iter().map(|node| (next_replica(state), *node)).collect();
    state.image.insert_shard(id, ShardRecord::new(replicas, class));
    id
}

/// An id that no replica had or will have.
fn next_replica(state: &mut State) -> ReplicaId {
    let id = ReplicaId::new(state.next_replica);
    state.next_replica += 1;
    id
}

fn create_topic(
    state: &mut State,
    version: MetadataVersion,
    new: NewTopic,
    rule: Rule,
) -> Result<Outcome, Refusal> {
    if let Some(existing) = state.image.topic(&new.name) {
        // The same request once more, whose answer was lost.
        return if existing.id == new.id {
            Ok(Outcome::TopicCreated(TopicRecord::clone(existing)))
        } else {
            Err(Refusal::TopicExists { name: new.name })
        };
    }
    if state.image.topic_by_id(&new.id).is_some() {
        return Err(Refusal::TopicIdTaken { id: new.id });
    }
    check_partitions(&state.image, new.partitions, 0)?;
    if state.image.shards.is_empty() {
        return Err(Refusal::NotFormed);
    }
    let replication = new.replication.unwrap_or_else(|| state.image.default_replication());
    check_replication(&state.image, replication)?;
    let mut config = TopicConfig::for_replication(replication);
    new.config.iter().for_each(|setting| config.set(setting));
    config.check(replication)?;
    // Refused no more from here on: the state may change.
    if state.image.shards_of_class(replication).next().is_none() {
        create_shards(state, replication, rule);
    }
    let partitions = place(&state.image, replication, new.partitions, rule);
    let topic = TopicRecord {
        id: new.id,
        name: new.name,
        partitions,
        partitions_first: new.partitions,
        replication,
        was_compacted: config.cleanup.is_compacted(),
        config,
        own: Some(new.config.iter().map(Setting::key).collect()),
        moves: BTreeMap::new(),
        arrived: BTreeMap::new(),
    };
    state.image.insert_topic(Arc::new(topic.clone()));
    state.image.version = version;
    Ok(Outcome::TopicCreated(topic))
}

/// Raises a topic's number of partitions: those it has stay where they are.
fn add_partitions(
    state: &mut State,
    version: MetadataVersion,
    id: TopicId,
    total: u32,
    rule: Rule,
) -> Result<Outcome, Refusal> {
    let image = &mut state.image;
    let known = Arc::clone(image.topic_by_id(&id).ok_or(Refusal::UnknownTopicId { id })?);
    let before = u32::try_from(known.partitions.len()).expect("bounded at creation");
    check_partitions(image, total, before)?;
    if total < before {
        let name = known.name.clone();
        return Err(Refusal::FewerPartitions { name, given: total, existing: before });
    }
    let mut topic = TopicRecord::clone(&known);
    // The same request once more, or one that asks for what is so: the version stays.
    if total > before {
        topic.partitions.extend(place(image, topic.replication, total - before, rule));
        image.insert_topic(Arc::new(topic.clone()));
        image.version = version;
    }
    Ok(Outcome::PartitionsAdded { topic, before })
}

/// Checks how many partitions a topic is to have; `present` of them are there.
fn check_partitions(image: &Image, total: u32, present: u32) -> Result<(), Refusal> {
    if !(1..=limits::TOPIC_PARTITIONS_MAX).contains(&total) {
        return Err(Refusal::InvalidPartitions { given: total });
    }
    let existing = image.partitions_total();
    let max = usize::try_from(limits::CLUSTER_PARTITIONS_MAX).expect("32 bits fit in a usize");
    let given = total.saturating_sub(present);
    let more = usize::try_from(given).expect("32 bits fit in a usize");
    if existing + more > max {
        return Err(Refusal::TooManyPartitions { given, existing });
    }
    Ok(())
}

fn place(image: &Image, class: u8, count: u32, rule: Rule) -> Vec<ShardId> {
    let shards = image.shards_of_class(class).map(|(id, _)| id);
    let loads: Vec<(ShardId, usize)> =
        shards.map(|shard| (shard, image.partition_count(shard))).collect();
    placement::partitions(rule, &loads, count)
}

fn altered(
    topic: &TopicRecord,
    set: &[Setting],
    reset: &[ConfigKey],
) -> Result<TopicRecord, Refusal> {
    if let Some(twice) = set.iter().find(|setting| reset.contains(&setting.key())) {
        return Err(InvalidConfig::SetAndReset { key: twice.key() }.into());
    }
    let mut config = topic.config.clone();
    let defaults = TopicConfig::for_replication(topic.replication);
    reset.iter().for_each(|key| config.set(&defaults.get(*key)));
    set.iter().for_each(|setting| config.set(setting));
    config.check(topic.replication)?;
    let mut own = topic.own_keys();
    own.retain(|key| !reset.contains(key));
    own.extend(set.iter().map(Setting::key));
    let was_compacted = topic.was_compacted || config.cleanup.is_compacted();
    Ok(TopicRecord { config, own: Some(own), was_compacted, ..topic.clone() })
}

/// Checked here too: what is replicated may be of another release.
fn set_policy(image: &mut Image, policy: Policy) -> Result<Policy, Refusal> {
    let policy = Policy::new(policy.pattern, policy.settings)?;
    if image.policies.get(&policy.pattern).is_none() && image.policies.len() >= POLICIES_MAX {
        return Err(Refusal::TooManyPolicies);
    }
    Arc::make_mut(&mut image.policies).insert(policy.clone());
    Ok(policy)
}

fn allocate_producer_ids(state: &mut State, count: u64) -> Result<Outcome, Refusal> {
    let first = state.next_producer;
    let next = i64::try_from(count).ok().and_then(|count| first.checked_add(count));
    match next.filter(|_| (1..=PRODUCER_IDS_MAX).contains(&count)) {
        Some(next) => {
            state.next_producer = next;
            Ok(Outcome::ProducerIds { first: ProducerId::new(first), count })
        }
        None => Err(Refusal::InvalidBlock { given: count, max: PRODUCER_IDS_MAX }),
    }
}
