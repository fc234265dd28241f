//! A member of a group: the client's own tracker decides what may be committed; what the tasks of
//! a consumer do around that is done here.

mod committing;
mod reading;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use quipu_client::sim::Processed;
use quipu_runtime::Rng;
use quipu_types::{NodeId, PartitionId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::committing::Committing;
use self::reading::{Looked, Read};
use self::session::Session;
use super::call::Way;
use super::plan::GroupPlan;
use super::plant::Plant;
use crate::commands::one_in;
use crate::l1::census::Event;

/// How often it looks at time.
const TICK: Duration = Duration::from_millis(100);
/// How long it stands still, at most.
const STALL_MS: u64 = 16_000;
/// A dead member's last commit takes so long, at most.
const LATE_MS: u64 = 12_000;

/// A member.
pub(super) struct Member {
    way: Way,
    group: GroupPlan,
    id: String,
    instance: Option<String>,
    rng: Rng,
    session: Session,
    committing: Committing,
    /// What the coordinator said last.
    assigned: BTreeSet<PartitionId>,
    revoking: BTreeSet<PartitionId>,
    owned: BTreeMap<PartitionId, Owned>,
    generations: u64,
    looking: FuturesUnordered<BoxFuture<'static, Looked>>,
    reading: FuturesUnordered<BoxFuture<'static, Read>>,
    /// Records in hand, and when each is done.
    in_hand: Vec<InHand>,
    next_mishap: Instant,
    /// Where it was when it lost everything, for a planted fault.
    remembered: BTreeMap<PartitionId, u64>,
}

/// A record that is being handled.
#[derive(Clone, Copy, Debug)]
struct InHand {
    partition: PartitionId,
    generation: u64,
    offset: u64,
    done_at: Instant,
}

/// A partition it holds.
struct Owned {
    /// Tells stays apart.
    generation: u64,
    phase: Phase,
    processed: Processed,
    /// What the group has stored.
    committed: Option<u64>,
    /// Records that were read and not handed out, and the offset behind what was read.
    read: VecDeque<u64>,
    read_to: u64,
    is_reading: bool,
    leader: Option<NodeId>,
    not_before: Instant,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its position is looked up.
    Starting,
    Reading,
    /// To be let go, at this time at the latest.
    Revoking(Instant),
}

/// How a member ends before the run does.
enum Mishap {
    Dies,
    Stalls(Duration),
    Leaves,
}

impl Member {
    pub(super) fn new(
        way: Way,
        group: GroupPlan,
        (id, instance): (String, Option<String>),
        rng: Rng,
    ) -> Self {
        let mut own = Self {
            way,
            id,
            instance,
            rng,
            session: Session::new(),
            committing: Committing::new(),
            assigned: BTreeSet::new(),
            revoking: BTreeSet::new(),
            owned: BTreeMap::new(),
            generations: 0,
            looking: FuturesUnordered::new(),
            reading: FuturesUnordered::new(),
            in_hand: Vec::new(),
            next_mishap: Instant::now(),
            remembered: BTreeMap::new(),
            group,
        };
        own.draw_mishap();
        own
    }

    fn has(&self, plant: Plant) -> bool {
        self.way.ground.scene.has(plant)
    }

    fn count(&self, event: Event, what: std::fmt::Arguments<'_>) {
        self.way.ground.scene.count(event, format_args!("member {} {what}", self.id));
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.way.ground.scene.note(format_args!("member {} {what}", self.id));
    }

    fn draw_mishap(&mut self) {
        let pause = Duration::from_millis(500 + self.rng.below(self.group.mishap_ms));
        self.next_mishap = Instant::now() + pause;
    }

    fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.group.session_ms.into())
    }

    /// Lives until it dies, leaves, or cannot be a member any more.
    pub(super) async fn live(mut self, calm: CancellationToken) {
        loop {
            let now = Instant::now();
            if now >= self.next_mishap && !calm.is_cancelled() {
                self.draw_mishap();
                match self.mishap() {
                    Mishap::Dies => return self.die(),
                    Mishap::Leaves => return self.leave().await,
                    Mishap::Stalls(pause) => {
                        self.count(Event::Stalled, format_args!("stands still for {pause:?}"));
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                }
            }
            if !self.step(now).await {
                return;
            }
            let wake = self.wake(now);
            let Self { session, looking, reading, committing, .. } = &mut self;
            tokio::select! {
                biased;
                answer = session.answer() => {
                    if !self.on_answer(answer) {
                        return;
                    }
                }
                Some(looked) = looking.next(), if !looking.is_empty() => self.on_looked(looked),
                done = committing.done() => self.on_committed(done),
                Some(read) = reading.next(), if !reading.is_empty() => self.on_read(read),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn mishap(&mut self) -> Mishap {
        match self.rng.below(10) {
            0..4 => Mishap::Dies,
            4..8 => Mishap::Stalls(Duration::from_millis(self.rng.below(STALL_MS))),
            _ => Mishap::Leaves,
        }
    }

    /// Does what is due; false when it cannot be a member any more.
    async fn step(&mut self, now: Instant) -> bool {
        self.check_session(now);
        self.finish(now);
        self.let_go(now);
        if let Some(commit) = self.due_commit(now) {
            if one_in(&mut self.rng, 60) && self.next_mishap > now + TICK {
                // It stands still just before the words leave it.
                let pause = Duration::from_millis(self.rng.below(STALL_MS));
                self.count(
                    Event::Stalled,
                    format_args!("stands still for {pause:?}, to commit then"),
                );
                tokio::time::sleep(pause).await;
            }
            self.send_commit(commit);
        }
        self.keep_session(Instant::now());
        self.read_on(Instant::now());
        self.hand_out(Instant::now());
        true
    }

    fn wake(&self, now: Instant) -> Instant {
        let done = self.in_hand.iter().map(|one| one.done_at).min();
        let tick = now + TICK;
        done.map_or(tick, |done| done.min(tick)).max(now + Duration::from_millis(1))
    }

    /// Tells the books what it holds.
    fn account(&self) {
        let held: BTreeSet<PartitionId> = self.owned.keys().copied().collect();
        self.way.floor.books().holds(self.group.name, &self.id, held);
    }

    /// Takes over what the coordinator said, as the client's `assignment.rs` does.
    fn follow(&mut self, now: Instant) {
        let grace = self.session_timeout() / 2;
        let held: Vec<PartitionId> = self.owned.keys().copied().collect();
        for id in &held {
            if self.revoking.contains(id) {
                self.revoke(*id, now + grace);
            } else if !self.assigned.contains(id) {
                self.lose(*id, "it is assigned to another");
            }
        }
        let taken: Vec<PartitionId> =
            self.assigned.iter().filter(|id| !held.contains(id)).copied().collect();
        for id in &taken {
            self.generations += 1;
            self.owned.insert(*id, Owned::new(self.generations));
            self.count(Event::Taken, format_args!("takes {id}"));
        }
        self.account();
        if !taken.is_empty() {
            self.look_up(taken);
        }
    }

    fn revoke(&mut self, id: PartitionId, until: Instant) {
        let Some(owned) = self.owned.get_mut(&id) else { return };
        if matches!(owned.phase, Phase::Revoking(_)) {
            return;
        }
        if owned.phase == Phase::Starting {
            // Its position is not known: nothing of it may be committed.
            owned.committed = Some(owned.processed.position());
        }
        owned.phase = Phase::Revoking(until);
        owned.read.clear();
        self.note(format_args!("is to let {id} go"));
    }

    fn lose(&mut self, id: PartitionId, why: &str) {
        if self.owned.remove(&id).is_some() {
            self.note(format_args!("has lost {id}: {why}"));
            self.account();
        }
    }

    /// Everything is lost; the group is joined anew.
    fn drop_everything(&mut self, why: &str) {
        let places = self.owned.iter().filter(|(_, owned)| owned.phase != Phase::Starting);
        self.remembered.extend(places.map(|(id, owned)| (*id, owned.processed.position())));
        self.note(format_args!("drops everything: {why}"));
        self.owned.clear();
        self.assigned.clear();
        self.revoking.clear();
        self.looking.clear();
        self.committing.forget();
        self.session.start_over();
        self.account();
    }

    /// Lets go of revoked partitions whose records are settled and whose positions are committed,
    /// or whose time is up.
    fn let_go(&mut self, now: Instant) {
        let too_late = self.session_timeout() / 4;
        let is_due = |owned: &Owned| match owned.phase {
            Phase::Revoking(until) => {
                let is_settled = owned.processed.held() == 0 || now >= until;
                is_settled && (now >= until + too_late || !owned.is_dirty())
            }
            Phase::Starting | Phase::Reading => false,
        };
        let due: Vec<PartitionId> =
            self.owned.iter().filter(|(_, owned)| is_due(owned)).map(|(id, _)| *id).collect();
        for id in due {
            self.count(Event::LetGo, format_args!("lets {id} go"));
            self.lose(id, "it was told to");
        }
    }

    /// What it says that it holds.
    fn held(&self) -> Vec<PartitionId> {
        let is_kept = |owned: &Owned| {
            let is_revoked = matches!(owned.phase, Phase::Revoking(_));
            !(is_revoked && self.has(Plant::KeepsWhatItLetGo))
        };
        self.owned.iter().filter(|(_, owned)| is_kept(owned)).map(|(id, _)| *id).collect()
    }

    /// It is gone at once. Its last commit may still be on its way.
    fn die(mut self) {
        self.count(Event::Died, format_args!("dies in epoch {}", self.session.epoch()));
        self.way.floor.books().holds(self.group.name, &self.id, BTreeSet::new());
        let commit = self.commit_of_everything();
        if self.session.epoch() > 0 && !commit.is_empty() && one_in(&mut self.rng, 2) {
            let pause = Duration::from_millis(self.rng.below(LATE_MS));
            self.commit_late(commit, pause);
        }
    }

    /// It commits and says goodbye.
    async fn leave(mut self) {
        self.count(Event::LeftGroup, format_args!("leaves"));
        let commit = self.commit_of_everything();
        if self.session.epoch() > 0 && !commit.is_empty() && self.committing.is_idle() {
            self.send_commit(commit);
            let done = tokio::time::timeout(Duration::from_secs(2), self.committing.done()).await;
            if let Ok(done) = done {
                self.on_committed(done);
            }
        }
        self.say_goodbye();
        self.owned.clear();
        self.account();
        // The words are on their way before the stream ends.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Owned {
    fn new(generation: u64) -> Self {
        Self {
            generation,
            phase: Phase::Starting,
            processed: Processed::new(0),
            committed: None,
            read: VecDeque::new(),
            read_to: 0,
            is_reading: false,
            leader: None,
            not_before: Instant::now(),
            failures: 0,
        }
    }

    /// Whether it has a position that the group does not.
    fn is_dirty(&self) -> bool {
        let position = self.processed.position();
        self.phase != Phase::Starting
            && match self.committed {
                Some(committed) => committed != position,
                None => position != self.processed.start(),
            }
    }
}
