//! Brings leaders home: after a node failed and came back, its shards are led elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_runtime::Deadline;
use quipu_types::{NodeId, ReplicaId, ShardId};

use super::liveness::Liveness;
use super::{Controller, STEP_WAIT};
use crate::calls;
use crate::image::Image;

/// A node must answer for so long before it is given work again: one that comes and goes would
/// cost two elections each time, and one that has just started may not have opened the shard: its
/// writes would stop until somebody else is elected.
const STEADY: Duration = Duration::from_secs(5);
/// Pause after a transfer of a shard failed, which stops its writes for a moment.
const PAUSE: Duration = Duration::from_secs(5);

/// Transfers one after the other, each shard no sooner than its last failure allows.
#[derive(Debug, Default)]
pub(super) struct Homecoming {
    not_before: BTreeMap<ShardId, Duration>,
}

/// A leadership to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    shard: ShardId,
    source: NodeId,
    target: ReplicaId,
    home: NodeId,
}

impl Homecoming {
    /// Moves one leadership, if any is away from home.
    pub(super) async fn step(
        &mut self,
        controller: &Controller,
        image: &Image,
        liveness: &Liveness,
    ) {
        let now = controller.clock.monotonic();
        let leader_of = |shard| controller.consensus.leader_hint(shard).map(|hint| hint.node);
        let is_short = |node| controller.consensus.is_short_of_disk(node);
        let Some(due) =
            self.next(image, liveness, leader_of, now).filter(|due| !is_short(due.home))
        else {
            return;
        };
        let payload = calls::encode_transfer(due.shard, due.target);
        let deadline = Deadline::after(&controller.clock, STEP_WAIT);
        let call = controller.consensus.call(due.source, calls::TRANSFER_LEADER, payload, deadline);
        match call.await {
            Ok(_) => {
                tracing::info!(shard = %due.shard, source = %due.source, home = %due.home, "a leader came home");
            }
            Err(error) => {
                tracing::info!(shard = %due.shard, home = %due.home, %error, "a leader cannot come home yet");
            }
        }
        // After a success too: the news of it may take a moment.
        self.not_before.insert(due.shard, controller.clock.monotonic() + PAUSE);
    }

    fn next(
        &self,
        image: &Image,
        liveness: &Liveness,
        leader_of: impl Fn(ShardId) -> Option<NodeId>,
        now: Duration,
    ) -> Option<Move> {
        image.shards.iter().find_map(|(shard, record)| {
            let (target, home) = record.preferred()?;
            let source = leader_of(*shard).filter(|source| *source != home)?;
            let is_home_open = image.nodes.get(&home).is_none_or(|it| it.state.may_lead());
            let is_due = is_home_open
                && !record.is_moving()
                && self.not_before.get(shard).is_none_or(|at| now >= *at)
                && liveness.is_steady(home, STEADY, now)
                && liveness.is_alive(source);
            is_due.then_some(Move { shard: *shard, source, target, home })
        })
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::StartId;

    use super::*;
    use crate::image::ShardRecord;

    fn image() -> Image {
        let mut image = Image::default();
        for (shard, nodes) in [(1, [1, 2, 3]), (2, [2, 1, 3])] {
            let replicas = (10 * shard..)
                .zip(nodes)
                .map(|(replica, node)| (ReplicaId::new(replica), NodeId::new(node)))
                .collect();
            let shard = ShardId::new(u32::try_from(shard).expect("small"));
            image.insert_shard(shard, ShardRecord::new(replicas, 3));
        }
        image
    }

    fn alive_since(second: u64, nodes: &[u64]) -> Liveness {
        let nodes = nodes.iter().map(|node| (NodeId::new(*node), StartId::default()));
        let mut liveness = Liveness::default();
        liveness.observe(nodes, |_| true, Duration::from_secs(second));
        liveness
    }

    #[test]
    fn a_leader_comes_home_when_home_is_steady() {
        let homecoming = Homecoming::default();
        let second = Duration::from_secs;
        let led_by_three = |_| Some(NodeId::new(3));
        let all = alive_since(0, &[1, 2, 3]);
        let due = homecoming.next(&image(), &all, led_by_three, second(5)).expect("due");
        assert_eq!(
            (due.shard, due.source, due.home),
            (ShardId::new(1), NodeId::new(3), NodeId::new(1))
        );
        assert_eq!(due.target, ReplicaId::new(10));
        assert_eq!(homecoming.next(&image(), &all, led_by_three, second(4)), None, "too soon");
        let due = homecoming.next(&image(), &alive_since(0, &[2, 3]), led_by_three, second(9));
        assert_eq!(due.map(|due| due.shard), Some(ShardId::new(2)), "node 1 does not answer");
        let gone = alive_since(0, &[1, 2]);
        assert_eq!(homecoming.next(&image(), &gone, led_by_three, second(9)), None);
        assert_eq!(homecoming.next(&image(), &all, |_| None, second(9)), None, "no leader at all");
        let at_home = |shard: ShardId| Some(NodeId::new(u64::from(shard.get())));
        assert_eq!(homecoming.next(&image(), &all, at_home, second(9)), None);
    }

    #[test]
    fn a_shard_that_failed_waits_and_lets_the_next_go() {
        let second = Duration::from_secs;
        let not_before = BTreeMap::from([(ShardId::new(1), second(20))]);
        let homecoming = Homecoming { not_before };
        let all = alive_since(0, &[1, 2, 3]);
        let led_by_three = |_| Some(NodeId::new(3));
        let due = homecoming.next(&image(), &all, led_by_three, second(10)).expect("due");
        assert_eq!(due.shard, ShardId::new(2));
        let due = homecoming.next(&image(), &all, led_by_three, second(20)).expect("due");
        assert_eq!(due.shard, ShardId::new(1));
    }
}
