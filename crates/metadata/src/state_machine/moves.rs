//! Replicas that change their nodes.
//!
//! A shard's record names the replicas that are to hold it and those that are to leave. Both are
//! open on their nodes until the group itself consists of the former alone: then the shard is
//! settled, and the nodes of the others may forget them. To call a move off is to move back.

use std::collections::BTreeSet;

use quipu_types::{NodeId, ReplicaId, ShardId};

use super::{State, next_replica};
use crate::command::Outcome;
use crate::image::{Image, PlannedMoves, ReplicaMove, ShardRecord};
use crate::refusal::Refusal;

/// Begins to move a shard's replicas. Replicas that stay, or come back before they have left, keep
/// their ids; others get new ones.
pub(super) fn begin(state: &mut State, to: &ReplicaMove) -> Result<Outcome, Refusal> {
    let shard = to.shard;
    let mut record = check(&state.image, to)?.clone();
    state.image.planned.moves.retain(|planned| planned.shard != shard);
    if record.nodes() == to.to {
        return Ok(Outcome::ReplicasMoving(record));
    }
    let before: Vec<(ReplicaId, NodeId)> =
        record.replicas.iter().chain(&record.leaving).copied().collect();
    record.replicas = to
        .to
        .iter()
        .map(|node| (record.replica_on(*node).unwrap_or_else(|| next_replica(state)), *node))
        .collect();
    let stays = |replica: &(ReplicaId, NodeId)| record.replicas.contains(replica);
    record.leaving = before.into_iter().filter(|replica| !stays(replica)).collect();
    state.image.shards.insert(shard, record.clone());
    Ok(Outcome::ReplicasMoving(record))
}

/// Takes note that a shard's group has exactly these voters and no other member.
pub(super) fn settle(
    image: &mut Image,
    shard: ShardId,
    replicas: &BTreeSet<ReplicaId>,
) -> Result<Outcome, Refusal> {
    let record = image.shards.get_mut(&shard).ok_or(Refusal::UnknownShard { shard })?;
    let wanted: BTreeSet<ReplicaId> = record.replicas.iter().map(|(id, _)| *id).collect();
    // Another move began meanwhile: it is not settled.
    if wanted == *replicas {
        record.leaving.clear();
        record.founding.clear();
    }
    Ok(Outcome::ShardSettled(record.clone()))
}

/// Replaces the plan.
pub(super) fn plan(image: &mut Image, planned: PlannedMoves) -> Result<Outcome, Refusal> {
    let mut shards = BTreeSet::new();
    for planned in &planned.moves {
        check(image, planned)?;
        if !shards.insert(planned.shard) {
            let reason = "the plan moves it twice".to_owned();
            return Err(Refusal::InvalidPlacement { shard: planned.shard, reason });
        }
    }
    image.planned = planned;
    Ok(Outcome::MovesPlanned)
}

/// Drops planned moves to a node that takes none any more.
pub(super) fn forget_plans_for(image: &mut Image, node: NodeId) {
    image.planned.moves.retain(|planned| !planned.to.contains(&node));
}

/// Whether a shard can be held so; gives the shard.
fn check<'a>(image: &'a Image, to: &ReplicaMove) -> Result<&'a ShardRecord, Refusal> {
    let shard = to.shard;
    let record = image.shards.get(&shard).ok_or(Refusal::UnknownShard { shard })?;
    let invalid = |reason: String| Refusal::InvalidPlacement { shard, reason };
    if to.to.len() != usize::from(record.class) {
        let given = to.to.len();
        return Err(invalid(format!("it has {} replicas, not {given}", record.class)));
    }
    for (place, node) in to.to.iter().enumerate() {
        let Some(known) = image.nodes.get(node) else {
            return Err(Refusal::UnknownNode { node: *node });
        };
        if to.to[..place].contains(node) {
            return Err(invalid(format!("node {node} is named twice")));
        }
        // Replicas may be where they are, even on a node that is to leave.
        if !known.state.may_host() && record.replica_on(*node).is_none() {
            return Err(invalid(format!("node {node} is being decommissioned")));
        }
    }
    Ok(record)
}
