//! Nodes that lost what their replicas had promised, and get other replicas in their place.

use std::collections::BTreeSet;

use quipu_types::{NodeId, ReplicaId, ShardId};

use super::{State, next_replica};
use crate::command::{NodeRebuild, Outcome};
use crate::image::{Image, Rebuilt, ShardRecord};
use crate::refusal::Refusal;

/// Gives a node another id in the metadata group, and other replicas in place of all it holds: with
/// ids above that one, so that it can tell them from those it forgot. Only asks whether that is
/// possible when no shards are named.
///
/// Asking again, of the same start: the same ids.
pub(super) fn rebuild(state: &mut State, request: &NodeRebuild) -> Result<Outcome, Refusal> {
    let node = request.node;
    check(&state.image, request)?;
    let known = state.image.nodes.get(&node).and_then(|record| record.rebuilt);
    let Some(confirmed) = &request.shards else {
        return Ok(Outcome::NodeRebuilding { replica: None });
    };
    if let Some(known) = known.filter(|known| known.incarnation == request.incarnation) {
        return Ok(Outcome::NodeRebuilding { replica: Some(known.replica) });
    }
    let held: BTreeSet<ShardId> = state.image.shards_on(node).map(|(shard, _)| shard).collect();
    if !held.is_subset(confirmed) {
        return Err(Refusal::ShardsChanged { node });
    }
    let replica = next_replica(state);
    for shard in held {
        let Some(record) = state.image.shards.get(&shard) else { continue };
        let mut record = record.clone();
        replace(state, &mut record, node);
        state.image.shards.insert(shard, record);
    }
    if let Some(record) = state.image.nodes.get_mut(&node) {
        record.rebuilt = Some(Rebuilt { replica, incarnation: request.incarnation });
    }
    Ok(Outcome::NodeRebuilding { replica: Some(replica) })
}

/// Another replica on the same node; the one before is to leave, wherever it was.
fn replace(state: &mut State, record: &mut ShardRecord, node: NodeId) {
    if let Some(place) = record.replicas.iter_mut().find(|(_, at)| *at == node) {
        let new: (ReplicaId, NodeId) = (next_replica(state), node);
        record.leaving.push(std::mem::replace(place, new));
    }
    // It was formed: a majority of it was asked.
    record.founding.clear();
}

fn check(image: &Image, request: &NodeRebuild) -> Result<(), Refusal> {
    let (node, given) = (request.node, request.directory);
    if image.removed.contains_key(&node) {
        return Err(Refusal::NodeRemoved { node });
    }
    let Some(record) = image.nodes.get(&node) else { return Err(Refusal::UnknownNode { node }) };
    if record.directory != given {
        return Err(Refusal::NodeIdTaken { node, known: record.directory, given });
    }
    let latest = record.rebuilt.map_or(record.incarnation, |it| it.incarnation);
    let known = latest.max(record.incarnation);
    if request.incarnation < known {
        let given = request.incarnation;
        return Err(Refusal::OldDirectory { node, known, given });
    }
    // What would never do is said before what will not do yet.
    let shards = || image.shards_on(node);
    if let Some((shard, record)) = shards().find(|(_, record)| record.class <= 2) {
        return Err(Refusal::TooFewReplicas { node, shard, replicas: record.class });
    }
    match shards().find(|(_, record)| !record.has_majority_without(node)) {
        Some((shard, record)) => Err(Refusal::TooFewWhole {
            node,
            shard,
            whole: record.whole_without(node).count(),
            replicas: record.class,
        }),
        None => Ok(()),
    }
}
