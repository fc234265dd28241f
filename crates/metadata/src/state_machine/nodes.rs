//! Nodes that are to rest, to leave, or have left.

use quipu_types::NodeId;

use super::moves;
use crate::command::Outcome;
use crate::image::{Image, NodeState};
use crate::refusal::Refusal;

/// Says what a node is there for.
pub(super) fn set_state(
    image: &mut Image,
    node: NodeId,
    state: NodeState,
) -> Result<Outcome, Refusal> {
    check_known(image, node)?;
    if state == NodeState::Decommissioning {
        check_dispensable(image, node)?;
    }
    if let Some(record) = image.nodes.get_mut(&node) {
        record.state = state;
    }
    if !state.may_host() {
        moves::forget_plans_for(image, node);
    }
    Ok(Outcome::NodeStateSet)
}

/// Forgets a node that holds nothing, for ever.
pub(super) fn remove(image: &mut Image, node: NodeId) -> Result<Outcome, Refusal> {
    if image.removed.contains_key(&node) {
        return Ok(Outcome::NodeRemoved);
    }
    check_known(image, node)?;
    let shards = image.shards_on(node).count();
    let is_leaving = image.nodes.get(&node).is_some_and(|record| !record.state.may_host());
    if shards > 0 || !is_leaving {
        return Err(Refusal::NodeInUse { node, shards });
    }
    if let Some(record) = image.nodes.remove(&node) {
        image.removed.insert(node, record.directory);
    }
    Ok(Outcome::NodeRemoved)
}

fn check_known(image: &Image, node: NodeId) -> Result<(), Refusal> {
    if image.nodes.contains_key(&node) {
        return Ok(());
    }
    Err(if image.removed.contains_key(&node) {
        Refusal::NodeRemoved { node }
    } else {
        Refusal::UnknownNode { node }
    })
}

/// Whether the others can hold everything.
fn check_dispensable(image: &Image, node: NodeId) -> Result<(), Refusal> {
    let left = image.hosts().filter(|(other, _)| *other != node).count();
    let needed = image.shards.values().map(|shard| shard.class).max().unwrap_or(1);
    if left < usize::from(needed) {
        return Err(Refusal::TooFewNodes { node, left, needed });
    }
    Ok(())
}
