//! Places in groups, which one member takes after the other.

use std::time::Duration;

use quipu_runtime::Rng;
use tokio_util::sync::CancellationToken;

use super::call::Way;
use super::member::Member;
use super::plan::GroupPlan;

/// How long nobody is in a seat, at most.
const EMPTY_MS: u64 = 9_000;

/// A place in a group that one member takes after the other.
pub(super) struct Seat {
    pub(super) way: Way,
    pub(super) group: GroupPlan,
    pub(super) number: u64,
    pub(super) rng: Rng,
    /// No mishaps any more.
    pub(super) calm: CancellationToken,
    pub(super) over: CancellationToken,
}

impl Seat {
    /// Has members in it until the run is over.
    pub(super) async fn fill(mut self) {
        for life in 1_u64.. {
            let name = format!("{}-{}", self.group.name, self.number);
            let instance = self.group.is_static.then(|| name.clone());
            let rng = Rng::seeded(self.rng.next_u64());
            let (way, group) = (self.way.clone(), self.group.clone());
            let member = Member::new(way, group, (format!("{name}-{life}"), instance), rng);
            if self.over.run_until_cancelled(member.live(self.calm.clone())).await.is_none() {
                return;
            }
            let most = if self.calm.is_cancelled() { 200 } else { EMPTY_MS };
            let pause = tokio::time::sleep(Duration::from_millis(self.rng.below(most)));
            if self.over.run_until_cancelled(self.calm.run_until_cancelled(pause)).await.is_none() {
                return;
            }
        }
    }
}
