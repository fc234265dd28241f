//! Positions on their way to the group, as the client's `committing.rs`: one request at a time.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_broker::coordinator::{CommitCommand, CommitPosition, Refusal};
use quipu_types::{Effect, ErrorCode, LeaderEpoch, NodeId, PartitionId, Retry};
use tokio::time::Instant;

use super::{Member, Phase};
use crate::l1::census::Event;
use crate::l2::books::CommitTold;
use crate::l2::call::{NoAnswer, Way};
use crate::l2::plant::Plant;
use crate::l2::stream::Refused;

/// A position, and the stay it is of.
pub(super) type Positions = Vec<(PartitionId, u64, u64)>;

/// What became of a request.
pub(super) struct Done {
    number: u64,
    positions: Positions,
    result: Result<Vec<Result<(), Refusal>>, Failed>,
}

/// Why a request as a whole has no answer.
enum Failed {
    Refused(Refused),
    NoAnswer(NoAnswer),
}

/// Commits of one member.
pub(super) struct Committing {
    in_flight: Option<BoxFuture<'static, Done>>,
    next_regular: Instant,
    not_before: Instant,
    redirected: Option<NodeId>,
}

impl Committing {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { in_flight: None, next_regular: now, not_before: now, redirected: None }
    }

    /// Resolves with the request in flight; never, when there is none.
    pub(super) async fn done(&mut self) -> Done {
        match &mut self.in_flight {
            Some(request) => {
                let done = request.await;
                self.in_flight = None;
                done
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn forget(&mut self) {
        self.in_flight = None;
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }
}

/// Asks a node to store positions.
async fn send(
    way: Way,
    node: NodeId,
    (group, member, epoch): (&'static str, String, u64),
    (number, positions): (u64, Positions),
) -> Done {
    let position = |(partition, offset, _): &(PartitionId, u64, u64)| CommitPosition {
        partition: *partition,
        offset: *offset,
        leader_epoch: LeaderEpoch::new(-1),
        metadata: number.to_string(),
    };
    let command = CommitCommand {
        group: group.to_owned(),
        member: Some((member, epoch)),
        positions: positions.iter().map(position).collect(),
    };
    let asked =
        way.ask(
            node,
            |broker, deadline| async move { broker.commit_offsets(command, deadline).await },
        );
    let result = match asked.await {
        Ok(Ok(results)) => Ok(results),
        Ok(Err(error)) => Err(Failed::Refused(Refused::of(&error))),
        Err(none) => Err(Failed::NoAnswer(none)),
    };
    Done { number, positions, result }
}

impl Member {
    /// Every position that the group does not have.
    pub(super) fn commit_of_everything(&self) -> Positions {
        let is_bent = self.has(Plant::CommitsUnhandled);
        let dirty = self.owned.iter().filter(|(_, owned)| owned.is_dirty());
        dirty
            .map(|(id, owned)| {
                let done = &owned.processed;
                let position = if is_bent { done.next() } else { done.position() };
                (*id, position, owned.generation)
            })
            .collect()
    }

    /// What is to be committed, if it is time.
    pub(super) fn due_commit(&mut self, now: Instant) -> Option<Positions> {
        let is_free = self.committing.is_idle() && now >= self.committing.not_before;
        if !is_free || self.session.epoch() == 0 {
            return None;
        }
        let is_regular = now >= self.committing.next_regular;
        if is_regular {
            self.committing.next_regular = now + self.group.commit_interval;
        }
        let is_urgent = self.owned.values().any(|owned| match owned.phase {
            Phase::Revoking(until) => {
                owned.is_dirty() && (owned.processed.held() == 0 || now >= until)
            }
            Phase::Starting | Phase::Reading => false,
        });
        let positions = self.commit_of_everything();
        ((is_regular || is_urgent) && !positions.is_empty()).then_some(positions)
    }

    fn begin(&self, positions: &Positions, is_late: bool) -> u64 {
        let named = positions.iter().map(|(id, offset, _)| (*id, *offset)).collect();
        let by = (self.group.name, self.id.as_str(), self.session.epoch());
        let number = self.way.floor.books().commit(by, named, is_late);
        let what = if is_late { "commits too late" } else { "commits" };
        let places: Vec<_> =
            positions.iter().map(|(id, offset, _)| format!("{offset} of {id}")).collect();
        self.note(format_args!("{what} as {number} in epoch {}: {places:?}", by.2));
        number
    }

    /// Sends a commit.
    pub(super) fn send_commit(&mut self, positions: Positions) {
        let number = self.begin(&positions, false);
        let target = self.committing.redirected.take().or(self.session.coordinator);
        let node = target.unwrap_or_else(|| self.way.any_node(&mut self.rng));
        let by = (self.group.name, self.id.clone(), self.session.epoch());
        let sending = send(self.way.clone(), node, by, (number, positions));
        self.committing.in_flight = Some(sending.boxed());
    }

    /// The last commit of a member that is dead by then.
    pub(super) fn commit_late(&mut self, positions: Positions, pause: Duration) {
        let number = self.begin(&positions, true);
        let by = (self.group.name, self.id.clone(), self.session.epoch());
        let (way, mut node) = (self.way.clone(), self.session.coordinator);
        let ground = self.way.ground.clone();
        let nodes = self.way.nodes();
        ground.spawn("late commit", async move {
            tokio::time::sleep(pause).await;
            for other in nodes {
                let target = node.take().unwrap_or(other);
                let one = (number, positions.clone());
                let done = send(way.clone(), target, by.clone(), one).await;
                match &done.result {
                    Ok(_) => return tell(&way, &done),
                    Err(Failed::Refused(refused)) if is_fenced(refused) => {
                        return tell(&way, &done);
                    }
                    Err(Failed::Refused(Refused { retry: Retry::At(leader), .. })) => {
                        node = Some(*leader);
                    }
                    Err(Failed::Refused(refused)) if refused.effect == Effect::None => {}
                    Err(_) => return,
                }
            }
        });
    }

    /// A request was answered, or not.
    pub(super) fn on_committed(&mut self, done: Done) {
        let now = Instant::now();
        tell(&self.way, &done);
        let Done { positions, result, .. } = done;
        let results = match result {
            Ok(results) => results,
            Err(failed) => return self.on_commit_failed(now, &failed),
        };
        for ((id, offset, generation), result) in positions.into_iter().zip(results) {
            let is_same = |owned: &&mut super::Owned| owned.generation == generation;
            let Some(owned) = self.owned.get_mut(&id).filter(is_same) else { continue };
            match result {
                Ok(()) => owned.committed = Some(offset),
                Err(refusal) if is_old(refusal.code()) => {
                    self.lose(id, "a commit says that it is another's");
                }
                Err(_) => self.committing.not_before = now + self.group.commit_interval,
            }
        }
    }

    fn on_commit_failed(&mut self, now: Instant, failed: &Failed) {
        self.committing.not_before = now + Duration::from_millis(100);
        let Failed::Refused(refused) = failed else { return };
        if is_fenced(refused) {
            self.start_over("a commit says that it is no member");
            return;
        }
        if let Retry::At(node) = refused.retry {
            self.committing.redirected = Some(node);
            self.committing.not_before = now;
        }
    }
}

/// Whoever commits is no member, or another by now.
const fn is_fenced(refused: &Refused) -> bool {
    is_old(refused.code)
}

const fn is_old(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownMember | ErrorCode::StaleMemberEpoch)
}

/// Tells the books what a member is told.
fn tell(way: &Way, done: &Done) {
    let scene = &way.ground.scene;
    let mut books = way.floor.books();
    match &done.result {
        Ok(results) => {
            for ((id, ..), result) in done.positions.iter().zip(results) {
                let told = if result.is_ok() { CommitTold::Stored } else { CommitTold::NotOwner };
                scene.expect(books.commit_told(done.number, *id, told));
            }
        }
        Err(Failed::Refused(refused)) => {
            let event = format_args!("commit {} is refused: {}", done.number, refused.words);
            if is_fenced(refused) {
                scene.count(Event::CommitRefused, event);
            } else {
                scene.note(event);
            }
            if refused.effect == Effect::None {
                scene.expect(books.commit_refused(done.number));
            }
        }
        Err(Failed::NoAnswer(why)) => {
            scene.note(format_args!("commit {} has no answer: {why:?}", done.number));
        }
    }
}
