//! Somebody who looks at the positions of groups, wherever: also at a node that was replaced as
//! their coordinator and does not know.

use std::time::Duration;

use quipu_runtime::Rng;
use quipu_types::{NodeId, PartitionId};
use tokio_util::sync::CancellationToken;

use super::call::{NoAnswer, Way};
use super::plan::GroupPlan;
use super::stream::Refused;
use crate::commands::pick;

/// Between two looks, at most. Unit: milliseconds.
const PAUSE_MS: u64 = 250;

/// A position that was found: of what, what was acknowledged before anybody looked, where it is.
pub(super) type Found = (PartitionId, u64, u64);

/// Asks a node where a group is in some partitions; where nothing is stored it is at 0.
pub(super) async fn look(
    way: &Way,
    node: NodeId,
    group: &'static str,
    partitions: &[PartitionId],
) -> Result<Result<Vec<Found>, Refused>, NoAnswer> {
    let known: Vec<u64> = {
        let books = way.floor.books();
        partitions.iter().map(|id| books.acknowledged_commit(group, *id)).collect()
    };
    let asked = way.ask(node, |broker, deadline| async move {
        broker.fetch_offsets(group, Some(partitions), deadline).await
    });
    let stored = match asked.await? {
        Ok(stored) => stored,
        Err(error) => return Ok(Err(Refused::of(&error))),
    };
    let position = |id: PartitionId| {
        let found = stored.iter().find(|stored| stored.partition == id);
        found.map_or(0, |stored| stored.committed.offset.get())
    };
    Ok(Ok(partitions.iter().zip(known).map(|(id, known)| (*id, known, position(*id))).collect()))
}

/// Whoever looks.
pub(super) struct Onlooker {
    pub(super) way: Way,
    pub(super) rng: Rng,
    pub(super) stop: CancellationToken,
}

impl Onlooker {
    /// Looks until told to stop.
    pub(super) async fn work(mut self) {
        loop {
            let pause = tokio::time::sleep(Duration::from_millis(self.rng.below(PAUSE_MS)));
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let groups = &self.way.floor.plan.groups;
        let group = &groups[usize::try_from(self.rng.below(groups.len() as u64)).expect("few")];
        let node = pick(&mut self.rng, &self.way.nodes());
        check(&self.way, node, group).await;
    }
}

/// Asks a node where a group is, and takes nothing wrong for an answer.
pub(super) async fn check(way: &Way, node: NodeId, group: &GroupPlan) {
    let (name, partitions) = (group.name, way.floor.partitions(&group.topics));
    // No answer and a refusal are as good as any: wrong is only what is wrong.
    let Ok(Ok(found)) = look(way, node, name, &partitions).await else { return };
    for (id, known, position) in found {
        let is_right = way.floor.books().begins(name, id, (known, position));
        way.ground.scene.expect(is_right);
    }
}
