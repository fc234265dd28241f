//! The task that turns what waits into bundles and answers those who wait.
//!
//! It proposes at once while fewer than [`BUNDLES_IN_FLIGHT_MAX`] bundles are on their way, so a
//! lone append pays no delay; under load the queue fills meanwhile, so bundles grow by themselves.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use quipu_runtime::Clock;
use quipu_types::limits::{
    BATCH_BYTES_MAX, BUNDLE_BYTES_MAX, BUNDLE_COMMANDS_MAX, BUNDLES_IN_FLIGHT_MAX,
};
use quipu_types::{Acks, LogIndex, NodeId, TimestampMs};

use crate::append::{AppendAnswer, AppendError, Appended};
use crate::bundle::{Bundle, Command};
use crate::control::{ControlAnswer, ControlError, to_control};
use crate::groups::{GroupAnswer, to_group};
use crate::handle::Permit;
use crate::metrics::ShardMetrics;
use crate::queue::Queue;
use crate::replication::{Applied, Live, OnFlushed, Replication, Standing, Unproposed};
use crate::reply::{self, Outcome};

mod provisional;
#[cfg(test)]
mod tests;

use provisional::Provisional;

/// How long a stopping shard waits for the bundles on their way.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How often the flushed positions of replicas are looked at while an append waits for more of
/// them than a majority: they are numbers in memory, and a flush takes about as long.
const INSYNC_POLL: Duration = Duration::from_millis(2);

/// A command in the queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) command: Command,
    pub(crate) waiter: Waiter,
}

/// Who waits for a command's outcome.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answer: Answer,
    /// Gives its bytes back when the command is answered.
    pub(crate) _permit: Option<Permit>,
}

/// How it is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Append(AppendWaiter),
    Control(ControlAnswer),
    Group(GroupAnswer),
}

/// What an append's caller asked for.
#[derive(Debug)]
pub(crate) struct AppendWaiter {
    pub(crate) acks: Acks,
    pub(crate) min_insync: u8,
    pub(crate) log_append_time: Option<TimestampMs>,
    /// When its request came, by the monotonic clock.
    pub(crate) begun: Duration,
    /// `None` once answered, and for acks none.
    pub(crate) answer: Option<AppendAnswer>,
}

/// Turns the queue into bundles. One task per shard owns it.
pub(crate) struct Bundler<R: Replication> {
    pub(crate) queue: Arc<Queue<Waiting>>,
    pub(crate) replication: Arc<R>,
    pub(crate) clock: Clock,
    pub(crate) metrics: ShardMetrics,
}

/// A bundle that was proposed.
struct Proposed {
    bytes: usize,
    waiters: Vec<Waiter>,
    provisional: Provisional,
    /// The appends in it, if there are any.
    appends: Option<Appends>,
}

/// Appends of one bundle, for those who measure.
#[derive(Clone, Default)]
struct Appends {
    count: usize,
    bytes: usize,
    proposed: Duration,
    /// When this node's own disk had them.
    flushed: Arc<OnceLock<Duration>>,
}

type InFlight = FuturesUnordered<BoxFuture<'static, (Proposed, Applied)>>;
type Holding = FuturesUnordered<BoxFuture<'static, ()>>;

impl<R: Replication> Bundler<R> {
    /// Runs until `stopped`; then refuses what waits and answers what is on its way.
    pub(crate) async fn run(self, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        let mut in_flight = InFlight::new();
        let mut holding = Holding::new();
        let mut rising: Option<BoxFuture<'static, ()>> = None;
        loop {
            let can_propose = rising.is_none() && in_flight.len() < BUNDLES_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                () = &mut stopped => break,
                Some((bundle, applied)) = in_flight.next(), if !in_flight.is_empty() => {
                    self.settle(bundle, applied, &mut holding);
                }
                Some(()) = holding.next(), if !holding.is_empty() => {}
                () = ready_or_never(&mut rising) => rising = None,
                () = self.queue.filled(), if can_propose => {
                    match self.replication.standing() {
                        Standing::Leader(witness) => in_flight.extend(self.propose(witness)),
                        Standing::Rising => rising = Some(self.replication.risen()),
                        Standing::Follower { leader } => self.refuse_queue(leader),
                        Standing::Stopped => break,
                    }
                }
            }
        }
        for waiting in self.queue.close() {
            refuse(waiting.waiter, &AppendError::Stopping, ControlError::Stopping);
        }
        let drain = async {
            while let Some((bundle, applied)) = in_flight.next().await {
                self.settle(bundle, applied, &mut holding);
            }
        };
        // What is left is dropped and so answered as lost.
        let _ = tokio::time::timeout(DRAIN_MAX, drain).await;
    }

    /// Proposes the next bundle, unless everything in it had to be refused.
    fn propose(&self, witness: R::Witness) -> Option<BoxFuture<'static, (Proposed, Applied)>> {
        let waiting = self.queue.take(BUNDLE_COMMANDS_MAX, BUNDLE_BYTES_MAX);
        self.update_queue_bytes();
        let live = self.replication.live();
        let mut waiters = Vec::with_capacity(waiting.len());
        let mut commands = Vec::with_capacity(waiting.len());
        let provisional = Provisional::default();
        for one in waiting {
            let partition = one.command.partition();
            match self.refusal(&one, live) {
                Some(refusal) => {
                    self.metrics.refused.increment(1);
                    refuse(one.waiter, &refusal, ControlError::Stopping);
                }
                None => {
                    let mut waiter = one.waiter;
                    let log_start =
                        self.replication.progress(partition).unwrap_or_default().log_start();
                    provisional.move_in(waiters.len(), &mut waiter, log_start);
                    waiters.push(waiter);
                    commands.push(one.command);
                }
            }
        }
        if commands.is_empty() {
            return None;
        }
        let proposed_at = TimestampMs::new(self.clock.wall_ms());
        let appends = self.appends(&commands, &waiters);
        let bytes = Bundle { proposed_at, commands }.encode();
        self.metrics.bundles.increment(1);
        self.metrics.bundle_commands.record(count_f64(waiters.len()));
        self.metrics.bundle_bytes.record(count_f64(bytes.len()));
        let bundle = Proposed {
            bytes: bytes.len(),
            waiters,
            provisional: provisional.clone(),
            appends: appends.clone(),
        };
        let on_flushed = self.on_flushed(appends, provisional.on_flushed());
        let applied = self.replication.propose(witness, bytes, on_flushed);
        Some(Box::pin(async move { (bundle, applied.await) }))
    }

    /// Measures the appends of a bundle that is about to be proposed.
    fn appends(&self, commands: &[Command], waiters: &[Waiter]) -> Option<Appends> {
        let proposed = self.clock.monotonic();
        let mut appends = Appends { proposed, ..Appends::default() };
        for (command, waiter) in commands.iter().zip(waiters) {
            if let Answer::Append(waiter) = &waiter.answer {
                appends.count += 1;
                appends.bytes += command.encoded_bytes();
                self.metrics.phases.queue.record(proposed.saturating_sub(waiter.begun));
            }
        }
        (appends.count > 0).then_some(appends)
    }

    /// Notes when the leader's own disk has the appends, then answers who waits for no more.
    fn on_flushed(&self, appends: Option<Appends>, answer: Option<OnFlushed>) -> Option<OnFlushed> {
        let Some(appends) = appends else { return answer };
        let clock = self.clock.clone();
        Some(Box::new(move || {
            // An entry is flushed once.
            let _ = appends.flushed.set(clock.monotonic());
            if let Some(answer) = answer {
                answer();
            }
        }))
    }

    /// Says how long a bundle's appends took, and where.
    fn measure(&self, appends: &Appends) {
        let now = self.clock.monotonic();
        // A quorum of others may be faster than the leader's own disk.
        let flushed = appends.flushed.get().copied().unwrap_or(now);
        let phases = &self.metrics.phases;
        phases.append.record_many(flushed.saturating_sub(appends.proposed), appends.count);
        phases.replicate.record_many(now.saturating_sub(flushed), appends.count);
        self.replication.felt(appends.bytes, now.saturating_sub(appends.proposed));
    }

    /// Why a command is kept out of the bundle, while it can still have no effect.
    fn refusal(&self, waiting: &Waiting, live: Live) -> Option<AppendError> {
        let Answer::Append(waiter) = &waiting.waiter.answer else { return None };
        let required = live.required(waiter.min_insync);
        if self.replication.progress(waiting.command.partition()).is_none() {
            Some(AppendError::PartitionNotReady)
        } else if waiter.acks == Acks::Quorum && live.live < required {
            Some(AppendError::NotEnoughReplicas { live: live.live, required })
        } else {
            None
        }
    }

    fn refuse_queue(&self, leader: Option<NodeId>) {
        for waiting in self.queue.take(usize::MAX, usize::MAX) {
            self.metrics.refused.increment(1);
            let refusal = match &waiting.waiter.answer {
                Answer::Append(waiter) => {
                    not_leader(&*self.replication, leader, waiter.acks, waiter.min_insync)
                }
                Answer::Control(_) | Answer::Group(_) => AppendError::NotLeader { leader },
            };
            refuse(waiting.waiter, &refusal, ControlError::NotLeader { leader });
        }
        self.update_queue_bytes();
    }

    fn settle(&self, bundle: Proposed, applied: Applied, holding: &mut Holding) {
        let Proposed { bytes, waiters, provisional, appends } = bundle;
        let waiters = provisional.give_back(waiters);
        match applied {
            Ok((index, reply)) => {
                if let Some(appends) = appends {
                    self.measure(&appends);
                }
                let held = self.distribute(waiters, &reply);
                if !held.is_empty() {
                    holding.push(Box::pin(hold(Arc::clone(&self.replication), index, held)));
                }
            }
            Err(why) => refuse_unproposed(waiters, bytes, why),
        }
    }

    /// Answers everybody whose outcome is final; the others still wait for more replicas.
    fn distribute(&self, waiters: Vec<Waiter>, reply: &[u8]) -> Vec<Held> {
        let outcomes = reply::decode(reply).unwrap_or_default();
        if outcomes.len() != waiters.len() {
            // Only a defect leads here; the entry is committed, so the outcome is unknown.
            let (outcomes, commands) = (outcomes.len(), waiters.len());
            tracing::error!(outcomes, commands, "reply does not fit its bundle");
            refuse_unproposed(waiters, 0, Unproposed::Lost);
            return Vec::new();
        }
        let majority = self.replication.live().majority();
        let mut held = Vec::new();
        for (waiter, outcome) in waiters.into_iter().zip(&outcomes) {
            match waiter.answer {
                Answer::Control(answer) => drop(answer.send(to_control(outcome))),
                Answer::Group(answer) => drop(answer.send(to_group(outcome))),
                Answer::Append(waiter) => held.extend(answer_append(waiter, outcome, majority)),
            }
        }
        held
    }

    fn update_queue_bytes(&self) {
        self.metrics.queue_bytes.set(count_f64(self.queue.bytes()));
    }
}

/// Why a replica that does not lead takes no append: with too few replicas alive nobody can lead,
/// and the caller learns that instead of looking for a leader.
pub(crate) fn not_leader(
    replication: &impl Replication,
    leader: Option<NodeId>,
    acks: Acks,
    min_insync: u8,
) -> AppendError {
    let live = replication.live();
    let required = live.required(min_insync);
    if leader.is_none() && acks == Acks::Quorum && live.live < required {
        AppendError::NotEnoughReplicas { live: live.live, required }
    } else {
        AppendError::NotLeader { leader }
    }
}

/// Answers a command that has no outcome.
pub(crate) fn refuse(waiter: Waiter, append: &AppendError, control: ControlError) {
    match waiter.answer {
        Answer::Append(AppendWaiter { answer: Some(answer), .. }) => {
            drop(answer.send(Err(append.clone())));
        }
        Answer::Append(AppendWaiter { answer: None, .. }) => {}
        Answer::Control(answer) => drop(answer.send(Err(control))),
        Answer::Group(answer) => drop(answer.send(Err(control))),
    }
}

fn refuse_unproposed(waiters: Vec<Waiter>, bytes: usize, why: Unproposed) {
    let (append, control) = match why {
        Unproposed::NotLeader { leader } => {
            (AppendError::NotLeader { leader }, ControlError::NotLeader { leader })
        }
        Unproposed::Lost => (AppendError::LeadershipLost, ControlError::LeadershipLost),
        Unproposed::TooLarge => {
            (AppendError::TooLarge { bytes, limit: BATCH_BYTES_MAX }, ControlError::Overloaded)
        }
    };
    for waiter in waiters {
        refuse(waiter, &append, control.clone());
    }
}

/// Answers an append, unless it waits for more replicas than a majority.
fn answer_append(waiter: AppendWaiter, outcome: &Outcome, majority: usize) -> Option<Held> {
    let answer = waiter.answer?;
    quipu_failpoint::hit("shard.append.answer.before");
    let required = usize::from(waiter.min_insync);
    match to_append(outcome, waiter.log_append_time) {
        Ok(appended) if waiter.acks == Acks::Quorum && required > majority => {
            Some(Held { answer, appended, required })
        }
        result => {
            drop(answer.send(result));
            None
        }
    }
}

fn to_append(
    outcome: &Outcome,
    log_append_time: Option<TimestampMs>,
) -> Result<Appended, AppendError> {
    match outcome {
        Outcome::Appended(appended) => Ok(Appended {
            base_offset: Some(appended.base_offset),
            log_start: appended.log_start,
            is_duplicate: appended.is_duplicate,
            // A retry carries the time of its first attempt: that is what is stored.
            log_append_time: log_append_time.map(|_| appended.max_timestamp),
        }),
        Outcome::Refused(refused) => Err(AppendError::Refused(*refused)),
        Outcome::UnknownPartition => Err(AppendError::UnknownPartition),
        Outcome::Opened { .. }
        | Outcome::Closed
        | Outcome::Trimmed(_)
        | Outcome::Group(_)
        | Outcome::Imported(_)
        | Outcome::Sealed { .. }
        | Outcome::Misplaced => {
            // Only a defect leads here: the entry is committed, what it did is not known.
            Err(AppendError::LeadershipLost)
        }
    }
}

/// An append that is committed, but asked for more replicas than a majority.
struct Held {
    answer: AppendAnswer,
    appended: Appended,
    required: usize,
}

/// Answers each held append once enough replicas have flushed the entry. Those who gave up
/// waiting are forgotten.
async fn hold<R: Replication>(replication: Arc<R>, index: LogIndex, mut held: Vec<Held>) {
    loop {
        let flushed_by = replication.flushed_by(index);
        for one in std::mem::take(&mut held) {
            match flushed_by {
                Some(count) if count >= one.required => drop(one.answer.send(Ok(one.appended))),
                Some(_) if one.answer.is_closed() => {}
                Some(_) => held.push(one),
                None => drop(one.answer.send(Err(AppendError::LeadershipLost))),
            }
        }
        if held.is_empty() {
            return;
        }
        tokio::time::sleep(INSYNC_POLL).await;
    }
}

/// Waits for the future if there is one, for ever if not.
async fn ready_or_never(future: &mut Option<BoxFuture<'static, ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A count as a metric's value.
pub(crate) fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
