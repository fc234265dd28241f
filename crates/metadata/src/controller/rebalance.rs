//! Gives every node its share by itself, once the cluster has been whole and at rest for a while.

use std::time::Duration;

use quipu_types::NodeId;

use super::Controller;
use super::liveness::Liveness;
use crate::balance::{self, MOVES_AT_ONCE};
use crate::command::Command;
use crate::image::{Image, NodeState, PlannedMoves, ReplicaMove};

/// Since when nothing has been amiss, as this controller knows.
#[derive(Debug, Default)]
pub(super) struct Rebalance {
    at_rest_since: Option<Duration>,
}

impl Rebalance {
    /// Plans moves, when it is time to.
    pub(super) async fn step(
        &mut self,
        controller: &Controller,
        image: &Image,
        liveness: &Liveness,
    ) {
        let now = controller.clock.monotonic();
        let is_well =
            |node| liveness.is_alive(node) && !controller.consensus.is_short_of_disk(node);
        let moves = self.due(image, is_well, now, controller.rebalance_after);
        if moves.is_empty() {
            return;
        }
        let count = moves.len();
        let planned = PlannedMoves { moves, at_once: MOVES_AT_ONCE };
        match controller.propose(Command::PlanMoves(planned)).await {
            Ok(_) => tracing::info!(moves = count, "nodes are uneven: replicas move"),
            Err(error) => tracing::warn!(%error, "uneven nodes stay so for now"),
        }
    }

    /// The moves to plan now; none before the cluster was at rest for `after`.
    fn due(
        &mut self,
        image: &Image,
        is_well: impl Fn(NodeId) -> bool,
        now: Duration,
        after: Duration,
    ) -> Vec<ReplicaMove> {
        if after.is_zero() || !is_at_rest(image, &is_well) {
            self.at_rest_since = None;
            return Vec::new();
        }
        let since = *self.at_rest_since.get_or_insert(now);
        if now.saturating_sub(since) < after {
            return Vec::new();
        }
        // Whatever comes of it, not at once again.
        self.at_rest_since = Some(now);
        if balance::is_uneven(image, &is_well) {
            balance::plan(image, &is_well)
        } else {
            Vec::new()
        }
    }
}

/// Whether every node works and answers, and no replica is on its way.
fn is_at_rest(image: &Image, is_well: impl Fn(NodeId) -> bool) -> bool {
    let works = |(node, state): (NodeId, NodeState)| state == NodeState::Active && is_well(node);
    let mut nodes = image.nodes.iter().map(|(node, record)| (*node, record.state));
    image.planned.moves.is_empty()
        && nodes.all(works)
        && !image.shards.iter().any(|(_, record)| record.is_moving())
}

#[cfg(test)]
mod tests {
    use quipu_types::{ReplicaId, ShardId};

    use super::*;
    use crate::image::ShardRecord;
    use crate::image::tests::node_record;

    const AFTER: Duration = Duration::from_secs(60);

    /// Shards on nodes 1 to 3, and a fourth node without any.
    fn image() -> Image {
        let mut image = Image::default();
        for node in 1..=4 {
            image.nodes.insert(NodeId::new(node), node_record(NodeState::Active));
        }
        for shard in 1..=4 {
            let replicas = [1, 2, 3].map(|node| (ReplicaId::new(node), NodeId::new(node)));
            image.insert_shard(ShardId::new(shard), ShardRecord::new(replicas.to_vec(), 3));
        }
        image
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_empty_node_gets_its_share_when_the_cluster_has_been_at_rest() {
        let image = image();
        let mut rebalance = Rebalance::default();
        assert_eq!(rebalance.due(&image, |_| true, at(100), AFTER), []);
        assert_eq!(rebalance.due(&image, |_| true, at(159), AFTER), []);
        let moves = rebalance.due(&image, |_| true, at(160), AFTER);
        let fourth = NodeId::new(4);
        assert_eq!(moves.iter().filter(|one| one.to.contains(&fourth)).count(), 3, "{moves:?}");
        assert_eq!(rebalance.due(&image, |_| true, at(161), AFTER), [], "not at once again");
        assert_eq!(rebalance.due(&image, |_| true, at(9_000), Duration::ZERO), [], "by hand alone");
    }

    #[test]
    fn nothing_moves_while_something_is_amiss() {
        let mut image = image();
        let mut rebalance = Rebalance::default();
        let all_but_two = |node| node != NodeId::new(2);
        assert_eq!(rebalance.due(&image, |_| true, at(0), AFTER), []);
        assert_eq!(rebalance.due(&image, all_but_two, at(50), AFTER), []);
        assert_eq!(rebalance.due(&image, |_| true, at(100), AFTER), [], "it begins anew");
        let drained = node_record(NodeState::drained_until(9));
        image.nodes.insert(NodeId::new(3), drained);
        assert_eq!(rebalance.due(&image, |_| true, at(160), AFTER), []);
    }

    #[test]
    fn a_little_unevenness_is_left_alone() {
        let mut image = image();
        image.nodes.remove(&NodeId::new(4));
        for node in 1..=2 {
            // Two more shards of one replica: 6, 5 and 4 replicas.
            for shard in 0..(3 - node) {
                let id = ShardId::new(u32::try_from(10 * node + shard).expect("small"));
                let replicas = vec![(ReplicaId::new(node), NodeId::new(node))];
                image.insert_shard(id, ShardRecord::new(replicas, 1));
            }
        }
        let mut rebalance = Rebalance::default();
        assert_eq!(rebalance.due(&image, |_| true, at(0), AFTER), []);
        assert_eq!(rebalance.due(&image, |_| true, at(60), AFTER), []);
        assert!(!balance::plan(&image, |_| true).is_empty(), "by hand it would");
    }
}
