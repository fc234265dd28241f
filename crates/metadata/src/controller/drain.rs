//! Leaderships leave nodes that are to rest or to go, and those that are short of disk.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_runtime::Deadline;
use quipu_types::{NodeId, ReplicaId, ShardId};

use super::liveness::Liveness;
use super::{Controller, STEP_WAIT};
use crate::calls;
use crate::command::Command;
use crate::image::{Image, NodeRecord, NodeState};

/// Pause after a transfer of a shard failed, which stops its writes for a moment.
const PAUSE: Duration = Duration::from_secs(2);

/// Transfers one after the other, each shard no sooner than its last failure allows.
#[derive(Debug, Default)]
pub(super) struct Drain {
    not_before: BTreeMap<ShardId, Duration>,
}

/// A leadership to hand over, and who may take it, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Handover {
    shard: ShardId,
    source: NodeId,
    successors: Vec<ReplicaId>,
}

impl Drain {
    /// Hands over what nodes lead that should not, the metadata group last; ends drains whose time
    /// is over, or whose nodes were started again.
    pub(super) async fn step(
        &mut self,
        controller: &Controller,
        image: &Image,
        liveness: &Liveness,
    ) {
        let now_ms = u64::try_from(controller.clock.wall_ms()).unwrap_or(0);
        for node in rested(image, now_ms) {
            let command = Command::SetNodeState { node, state: NodeState::Active };
            match controller.propose(command).await {
                Ok(_) => tracing::info!(%node, "a drain is over"),
                Err(error) => tracing::warn!(%node, %error, "a drain does not end yet"),
            }
        }
        let leader_of = |shard| controller.consensus.leader_hint(shard).map(|hint| hint.node);
        let is_short = |node| controller.consensus.is_short_of_disk(node);
        let due = due(image, liveness, leader_of, is_short);
        let is_last = due.is_empty();
        let now = controller.clock.monotonic();
        let may_try = |due: &Handover| self.not_before.get(&due.shard).is_none_or(|at| now >= *at);
        for handover in due.into_iter().filter(may_try).collect::<Vec<_>>() {
            if !hand_over(controller, &handover).await {
                self.not_before.insert(handover.shard, controller.clock.monotonic() + PAUSE);
            }
        }
        if is_last {
            hand_over_metadata(controller, image, liveness).await;
        }
    }
}

async fn hand_over(controller: &Controller, due: &Handover) -> bool {
    for successor in &due.successors {
        let payload = calls::encode_transfer(due.shard, *successor);
        let deadline = Deadline::after(&controller.clock, STEP_WAIT);
        let call = controller.consensus.call(due.source, calls::TRANSFER_LEADER, payload, deadline);
        match call.await {
            Ok(_) => {
                tracing::info!(shard = %due.shard, source = %due.source, "a leadership left");
                return true;
            }
            Err(error) => {
                tracing::debug!(shard = %due.shard, source = %due.source, %error, "a leadership cannot leave so");
            }
        }
    }
    false
}

/// The controller itself is to rest, or short of disk: another takes its place, and goes on.
async fn hand_over_metadata(controller: &Controller, image: &Image, liveness: &Liveness) {
    let may_lead = |node: NodeId| {
        let is_short = controller.consensus.is_short_of_disk(node);
        !is_short && image.nodes.get(&node).is_some_and(|record| record.state.may_lead())
    };
    let own = controller.identity.node();
    if !image.nodes.contains_key(&own) || may_lead(own) {
        return;
    }
    let members = controller.group.members();
    let may_take = |node: NodeId| may_lead(node) && liveness.is_alive(node);
    for member in members.iter().filter(|member| member.is_voter && may_take(member.node)) {
        match controller.group.transfer_leadership(member.replica).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(node = %member.node, %error, "no successor yet"),
        }
    }
}

/// Nodes whose drain is over.
fn rested(image: &Image, now_ms: u64) -> Vec<NodeId> {
    let is_over = |record: &NodeRecord| match record.state {
        NodeState::Drained { until_ms, start } => {
            until_ms <= now_ms || start.is_some_and(|start| start != record.start)
        }
        NodeState::Active | NodeState::Decommissioning => false,
    };
    let nodes = image.nodes.iter().filter(|(_, record)| is_over(record));
    nodes.map(|(node, _)| *node).collect()
}

/// What is led where it should not be, and by another could be.
fn due(
    image: &Image,
    liveness: &Liveness,
    leader_of: impl Fn(ShardId) -> Option<NodeId>,
    is_short: impl Fn(NodeId) -> bool,
) -> Vec<Handover> {
    let may_lead = |node: NodeId| {
        !is_short(node) && image.nodes.get(&node).is_some_and(|it| it.state.may_lead())
    };
    let handovers = image.shards.iter().filter_map(|(shard, record)| {
        let source = leader_of(*shard).filter(|source| !may_lead(*source))?;
        let held = record.replicas.iter().chain(&record.leaving);
        let lost: Vec<(ReplicaId, NodeId)> = record.lost().collect();
        let may_take = |held: &&(ReplicaId, NodeId)| {
            may_lead(held.1) && liveness.is_alive(held.1) && !lost.contains(held)
        };
        let successors: Vec<ReplicaId> =
            held.filter(may_take).map(|(replica, _)| *replica).collect();
        let is_due = !successors.is_empty() && liveness.is_alive(source);
        is_due.then_some(Handover { shard: *shard, source, successors })
    });
    handovers.collect()
}

#[cfg(test)]
mod tests {
    use quipu_types::StartId;

    use super::*;
    use crate::image::ShardRecord;
    use crate::image::tests::node_record;

    fn image(states: [NodeState; 3]) -> Image {
        let mut image = Image::default();
        for (node, state) in (1..).zip(states) {
            image.nodes.insert(NodeId::new(node), node_record(state));
        }
        let replicas =
            [1, 2, 3].map(|node| (ReplicaId::new(10 + node), NodeId::new(node))).to_vec();
        image.insert_shard(ShardId::new(1), ShardRecord::new(replicas, 3));
        image
    }

    fn alive(nodes: &[u64]) -> Liveness {
        let nodes = nodes.iter().map(|node| (NodeId::new(*node), StartId::default()));
        let mut liveness = Liveness::default();
        liveness.observe(nodes, |_| true, Duration::ZERO);
        liveness
    }

    const DRAINED: NodeState = NodeState::drained_until(100);

    #[test]
    fn leaderships_leave_nodes_that_rest_for_nodes_that_work_and_answer() {
        let led_by_one = |_| Some(NodeId::new(1));
        let active = NodeState::Active;
        let all = alive(&[1, 2, 3]);
        assert_eq!(due(&image([active; 3]), &all, led_by_one, |_| false), []);
        for state in [DRAINED, NodeState::Decommissioning] {
            let found = due(&image([state, active, active]), &all, led_by_one, |_| false);
            assert_eq!(found[0].successors, [ReplicaId::new(12), ReplicaId::new(13)]);
        }
        let found = due(&image([DRAINED, active, active]), &alive(&[1, 3]), led_by_one, |_| false);
        assert_eq!(found[0].successors, [ReplicaId::new(13)]);
        assert_eq!(due(&image([DRAINED; 3]), &all, led_by_one, |_| false), [], "someone must lead");
        assert_eq!(due(&image([DRAINED, active, active]), &alive(&[1]), led_by_one, |_| false), []);
        let short = |node| node != NodeId::new(3);
        let found = due(&image([active; 3]), &all, led_by_one, short);
        assert_eq!(found[0].successors, [ReplicaId::new(13)], "who has room");
        assert_eq!(due(&image([active; 3]), &all, led_by_one, |_| true), []);
    }

    #[test]
    fn a_drain_ends_with_its_time() {
        let image = image([DRAINED, NodeState::Active, NodeState::Decommissioning]);
        assert_eq!(rested(&image, 99), []);
        assert_eq!(rested(&image, 100), [NodeId::new(1)]);
    }

    #[test]
    fn a_drain_of_one_start_ends_with_the_next() {
        let [first, second] = [1, 2].map(|byte| StartId::from_bytes([byte; 16]));
        let until_restart = NodeState::Drained { until_ms: 100, start: Some(first) };
        let mut image = image([until_restart, DRAINED, NodeState::Active]);
        for record in image.nodes.values_mut() {
            record.start = first;
        }
        assert_eq!(rested(&image, 99), []);
        assert_eq!(rested(&image, 100), [1, 2].map(NodeId::new), "should it never start again");
        for record in image.nodes.values_mut() {
            record.start = second;
        }
        assert_eq!(rested(&image, 99), [NodeId::new(1)], "the other rests whatever is started");
    }
}
