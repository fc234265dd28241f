//! Partitions that change their shards.
//!
//! A topic's record names the shard that has a partition, and the one it is to have: the leader of
//! the latter brings the partition over, and says so when it has arrived. Until then the former
//! alone counts. A move is called off by moving to where the partition is.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_types::{MetadataVersion, MoveId, PartitionIndex, ShardId, TopicId};

use super::{State, check_replication, create_shards, place};
use crate::command::Outcome;
use crate::image::{Image, PartitionMove, TopicRecord};
use crate::placement::Rule;
use crate::refusal::Refusal;
use crate::topic_config::TopicConfig;

/// Begins to move partitions, all of them or none.
pub(super) fn begin(
    image: &mut Image,
    version: MetadataVersion,
    id: TopicId,
    to: &BTreeMap<PartitionIndex, ShardId>,
) -> Result<Outcome, Refusal> {
    let known = find(image, id)?;
    let mut topic = TopicRecord::clone(&known);
    for (index, shard) in to {
        let partitions = known.partitions.len();
        if usize::try_from(index.get()).map_or(true, |at| at >= partitions) {
            let name = known.name.clone();
            return Err(Refusal::UnknownPartition { name, given: *index, partitions });
        }
        check_shard(image, &known, *shard)?;
        send(&mut topic, *index, *shard, version);
    }
    Ok(put(image, version, &known, topic))
}

/// Takes note that a partition has arrived.
pub(super) fn finish(
    image: &mut Image,
    id: TopicId,
    (index, by): (PartitionIndex, MoveId),
) -> Result<Outcome, Refusal> {
    let known = find(image, id)?;
    let mut topic = TopicRecord::clone(&known);
    // The same once more, whose answer was lost.
    if topic.arrived.get(&index) == Some(&by) && !topic.moves.contains_key(&index) {
        return Ok(Outcome::PartitionArrived);
    }
    let moving = topic.moves.remove(&index).filter(|moving| moving.id == by);
    let Some(moving) = moving else {
        return Err(Refusal::MoveCalledOff { name: known.name.clone(), partition: index, by });
    };
    let at = usize::try_from(index.get()).expect("32 bits fit in a usize");
    topic.partitions[at] = moving.to;
    topic.arrived.insert(index, by);
    image.insert_topic(Arc::new(topic));
    Ok(Outcome::PartitionArrived)
}

/// Gives a topic another number of replicas. Partitions on shards that have as many stay.
pub(super) fn replicate(
    state: &mut State,
    version: MetadataVersion,
    (id, replication): (TopicId, u8),
    rule: Rule,
) -> Result<Outcome, Refusal> {
    let known = find(&state.image, id)?;
    check_replication(&state.image, replication)?;
    let mut topic = TopicRecord::clone(&known);
    topic.replication = replication;
    topic.config = TopicConfig::for_replication(replication);
    let own = known.own_keys();
    own.iter().for_each(|key| topic.config.set(&known.config.get(*key)));
    topic.config.check(replication)?;
    // Refused no more from here on: the state may change.
    if state.image.shards_of_class(replication).next().is_none() {
        create_shards(state, replication, rule);
    }
    let image = &mut state.image;
    let is_right =
        |shard: &ShardId| image.shards.get(shard).is_some_and(|record| record.class == replication);
    let mut moving: Vec<PartitionIndex> = Vec::new();
    for (partition, shard) in known.placed() {
        let planned = known.moves.get(&partition.index).map(|moving| moving.to);
        if is_right(&planned.unwrap_or(shard)) {
            continue;
        }
        if is_right(&shard) {
            topic.moves.remove(&partition.index);
        } else {
            moving.push(partition.index);
        }
    }
    let count = u32::try_from(moving.len()).expect("bounded at creation");
    for (index, shard) in moving.into_iter().zip(place(image, replication, count, rule)) {
        send(&mut topic, index, shard, version);
    }
    Ok(put(image, version, &known, topic))
}

fn find(image: &Image, id: TopicId) -> Result<Arc<TopicRecord>, Refusal> {
    image.topic_by_id(&id).cloned().ok_or(Refusal::UnknownTopicId { id })
}

fn check_shard(image: &Image, topic: &TopicRecord, shard: ShardId) -> Result<(), Refusal> {
    let record = image.shards.get(&shard).ok_or(Refusal::UnknownShard { shard })?;
    if record.class == topic.replication {
        return Ok(());
    }
    let (has, needs) = (record.class, topic.replication);
    let reason = format!("it has {has} replicas, partitions of {} have {needs}", topic.name);
    Err(Refusal::InvalidPlacement { shard, reason })
}

/// A move that goes there already keeps its id, and what it has brought.
fn send(topic: &mut TopicRecord, index: PartitionIndex, to: ShardId, version: MetadataVersion) {
    let at = usize::try_from(index.get()).expect("32 bits fit in a usize");
    if topic.partitions[at] == to {
        topic.moves.remove(&index);
        return;
    }
    let next = PartitionMove { id: MoveId::new(version.get()), to };
    let moving = topic.moves.entry(index).or_insert(next);
    if moving.to != to {
        *moving = next;
    }
}

/// What asks for what is so changes nothing: the version stays.
fn put(
    image: &mut Image,
    version: MetadataVersion,
    known: &TopicRecord,
    topic: TopicRecord,
) -> Outcome {
    if topic != *known {
        image.insert_topic(Arc::new(topic.clone()));
        image.version = version;
    }
    Outcome::PartitionsMoving(topic)
}
