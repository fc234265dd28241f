//! Which replicas begin to move: as planned, and away from nodes that are to leave.

use std::collections::BTreeMap;

use quipu_types::{NodeId, ShardId};

use super::Controller;
use super::liveness::Liveness;
use crate::command::Command;
use crate::image::{Image, NodeState, ReplicaMove, ShardRecord};
use crate::placement::{self, Placed, Site};
use crate::state_machine;

/// Moves under way at once, where no plan says how many.
const AT_ONCE: usize = 2;

/// Begins what may begin, and removes nodes that hold nothing any more.
pub(super) async fn step(controller: &Controller, image: &Image, liveness: &Liveness) {
    for due in next(image, |node| liveness.is_alive(node)) {
        let shard = due.shard;
        tracing::info!(%shard, to = ?due.to, "replicas of a shard begin to move");
        if let Err(error) = controller.propose(Command::MoveReplicas(due)).await {
            tracing::warn!(%shard, %error, "replicas of a shard do not move yet");
            return;
        }
    }
    let voters = controller.group.members();
    for node in empty(image) {
        // It votes on the metadata until another has taken its place.
        if voters.iter().any(|member| member.is_voter && member.node == node) {
            continue;
        }
        match controller.propose(Command::RemoveNode { node }).await {
            Ok(_) => tracing::info!(%node, "a node was removed: it holds nothing any more"),
            Err(error) => tracing::warn!(%node, %error, "a node is not removed yet"),
        }
    }
}

/// Nodes to remove.
fn empty(image: &Image) -> Vec<NodeId> {
    let leaving =
        image.nodes.iter().filter(|(_, record)| record.state == NodeState::Decommissioning);
    let is_empty = |node: &NodeId| image.shards_on(*node).next().is_none();
    leaving.map(|(node, _)| *node).filter(is_empty).collect()
}

/// The moves that may begin now.
fn next(image: &Image, is_alive: impl Fn(NodeId) -> bool) -> Vec<ReplicaMove> {
    // What moves to a node that is to leave is to move on, and holds nothing up.
    let may_host = |node: &NodeId| image.nodes.get(node).is_some_and(|it| it.state.may_host());
    let is_under_way =
        |shard: &&ShardRecord| shard.is_moving() && shard.nodes().iter().all(may_host);
    let under_way = image.shards.values().filter(is_under_way).count();
    let at_once = match image.planned.at_once {
        0 => AT_ONCE,
        planned => usize::try_from(planned).unwrap_or(usize::MAX),
    };
    let can_begin = |due: &&ReplicaMove| {
        image.shards.get(&due.shard).is_some_and(|record| {
            let answers = |node: &NodeId| is_alive(*node) || record.replica_on(*node).is_some();
            !record.is_moving() && due.to.iter().all(answers)
        })
    };
    let planned = image.planned.moves.iter().filter(can_begin).cloned();
    let due = planned.chain(evacuations(image, &is_alive));
    due.take(at_once.saturating_sub(under_way)).collect()
}

/// A new place for each replica on a node that is to leave, also of shards that are moving there.
/// Each counts for the next.
fn evacuations(image: &Image, is_alive: impl Fn(NodeId) -> bool) -> Vec<ReplicaMove> {
    let may_host =
        |node: &NodeId| image.nodes.get(node).is_some_and(|record| record.state.may_host());
    let sites = state_machine::sites(image).into_iter();
    let sites: Vec<Site> = sites.filter(|site| is_alive(site.node)).collect();
    let mut places: BTreeMap<ShardId, Placed> = BTreeMap::new();
    for (shard, record) in &image.shards {
        places.insert(*shard, Placed { class: record.class, nodes: record.nodes() });
    }
    let is_planned = |shard: &ShardId| image.planned.moves.iter().any(|it| it.shard == *shard);
    let mut moves = Vec::new();
    for shard in image.shards.keys().copied().filter(|shard| !is_planned(shard)) {
        let Placed { class, nodes } = places[&shard].clone();
        let gone: Vec<NodeId> = nodes.iter().copied().filter(|node| !may_host(node)).collect();
        if gone.is_empty() {
            continue;
        }
        let existing: Vec<Placed> = places.values().cloned().collect();
        let Some(to) = placement::replace(&sites, &existing, class, &nodes, &gone) else {
            continue;
        };
        places.insert(shard, Placed { class, nodes: to.clone() });
        moves.push(ReplicaMove { shard, to });
    }
    moves
}

#[cfg(test)]
mod tests {
    use quipu_types::ReplicaId;

    use super::*;
    use crate::image::PlannedMoves;
    use crate::image::tests::node_record;

    fn image(shards: &[[u64; 3]], nodes: u64, leaving: &[u64]) -> Image {
        let mut image = Image::default();
        for node in 1..=nodes {
            let is_leaving = leaving.contains(&node);
            let state = if is_leaving { NodeState::Decommissioning } else { NodeState::Active };
            image.nodes.insert(NodeId::new(node), node_record(state));
        }
        let mut replica = 100;
        for (id, set) in (1..).zip(shards) {
            let replicas = set.map(|node| {
                replica += 1;
                (ReplicaId::new(replica), NodeId::new(node))
            });
            image.insert_shard(ShardId::new(id), ShardRecord::new(replicas.to_vec(), 3));
        }
        image
    }

    fn to(shard: u32, nodes: [u64; 3]) -> ReplicaMove {
        ReplicaMove { shard: ShardId::new(shard), to: nodes.map(NodeId::new).to_vec() }
    }

    #[test]
    fn replicas_leave_a_node_that_is_to_go_two_shards_at_a_time() {
        let image = image(&[[1, 2, 3], [2, 3, 1], [3, 1, 2], [2, 3, 4]], 5, &[1]);
        let due = next(&image, |_| true);
        assert_eq!(due.len(), 2, "{due:?}");
        for due in &due {
            assert!(!due.to.contains(&NodeId::new(1)) && due.to.len() == 3, "{due:?}");
        }
        assert!(due[0].to.contains(&NodeId::new(5)), "the emptiest node: {due:?}");
        let dead = next(&image, |node| node != NodeId::new(5));
        assert!(dead.iter().all(|due| !due.to.contains(&NodeId::new(5))), "{dead:?}");
    }

    #[test]
    fn a_plan_is_carried_out_in_order_and_waits_for_what_is_under_way() {
        let mut image = image(&[[1, 2, 3], [2, 3, 1], [3, 1, 2]], 4, &[]);
        let moves = vec![to(3, [4, 1, 2]), to(1, [4, 2, 3]), to(2, [4, 3, 1])];
        image.planned = PlannedMoves { moves, at_once: 1 };
        assert_eq!(next(&image, |_| true), [to(3, [4, 1, 2])]);
        assert_eq!(next(&image, |node| node != NodeId::new(4)), [], "it does not answer");
        let record = image.shards.get_mut(&ShardId::new(3)).unwrap();
        record.leaving.push((ReplicaId::new(9), NodeId::new(3)));
        assert_eq!(next(&image, |_| true), []);
        image.planned.at_once = 3;
        assert_eq!(next(&image, |_| true), [to(1, [4, 2, 3]), to(2, [4, 3, 1])]);
    }

    #[test]
    fn a_node_is_empty_once_nothing_is_left_on_it_not_even_what_is_to_leave() {
        let mut image = image(&[[2, 3, 4]], 4, &[1]);
        assert_eq!(empty(&image), [NodeId::new(1)]);
        let record = image.shards.get_mut(&ShardId::new(1)).unwrap();
        record.leaving.push((ReplicaId::new(9), NodeId::new(1)));
        assert_eq!(empty(&image), []);
    }
}
