//! What this member holds: one entry per partition, shared by the consumer that hands messages
//! out, the messages that are acknowledged, and the task that keeps up the membership.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use metrics::Gauge;
use quipu_types::PartitionId;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::TopicPartition;
use super::tracker::Tracker;
use crate::error::AckError;
use crate::metrics::Consuming;
use crate::reader::bounds::Bounds;
use crate::reader::output::Output;
use crate::reader::plan::{Plan, Wanted};

mod commits;
mod reading;

pub(super) use commits::{Commit, Dirty};

/// Set when the messages handed out under it can no longer be acknowledged: why.
pub(super) type Fate = Arc<OnceLock<AckError>>;

/// Who waits for an acknowledgement to be committed.
type Waiter = oneshot::Sender<Result<(), AckError>>;

#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
    pub(super) plan: Arc<Plan>,
    pub(super) output: Arc<Output>,
    /// The member's task should look: something was acknowledged or let go.
    pub(super) touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    owned: BTreeMap<PartitionId, Owned>,
    generations: u64,
    /// Somebody waits until all messages are settled.
    is_stopping: bool,
    shown: ShownLag,
}

/// The lag that is shown of each topic. It ends at zero: of a topic that is another member's, this
/// one has nothing to add to a sum.
#[derive(Debug, Default)]
struct ShownLag(BTreeMap<Arc<str>, Gauge>);

impl Drop for ShownLag {
    fn drop(&mut self) {
        self.0.values().for_each(|gauge| gauge.set(0.0));
    }
}

#[derive(Debug)]
struct Owned {
    topic: Arc<str>,
    metrics: Consuming,
    fate: Fate,
    /// Of the plan: what was fetched in an earlier one is not delivered.
    generation: u64,
    phase: Phase,
    is_paused: bool,
    tracker: Tracker,
    /// What the group has stored.
    committed: Option<u64>,
    /// The position is to be stored even though nothing was acknowledged: it was chosen.
    is_chosen: bool,
    /// By offset of the message.
    waiters: BTreeMap<u64, Vec<Waiter>>,
    high_watermark: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its position is looked up.
    Starting,
    Reading,
    /// To be let go, at this time at the latest.
    Revoking(Instant),
}

/// A partition whose position is to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) id: PartitionId,
    pub(super) topic: Arc<str>,
    pub(super) fate: Fate,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            plan: Arc::new(Plan::changing()),
            output: Arc::new(Output::new()),
            touched: Notify::new(),
        }
    }

    /// Takes a partition that was assigned.
    pub(super) fn take(&self, id: PartitionId, topic: Arc<str>, metrics: Consuming) -> Taken {
        let mut state = self.lock();
        let fate = Fate::default();
        let owned = Owned {
            topic: topic.clone(),
            metrics,
            fate: fate.clone(),
            generation: state.next_generation(),
            phase: Phase::Starting,
            is_paused: false,
            tracker: Tracker::new(0),
            committed: None,
            is_chosen: false,
            waiters: BTreeMap::new(),
            high_watermark: None,
        };
        state.owned.insert(id, owned);
        Taken { id, topic, fate }
    }

    /// Starts to read where `start` says, unless the partition was lost meanwhile.
    pub(super) fn start(&self, taken: &Taken, start: u64, committed: Option<u64>, is_chosen: bool) {
        let mut state = self.lock();
        let Some(owned) = state.owned.get_mut(&taken.id) else { return };
        if !Arc::ptr_eq(&owned.fate, &taken.fate) || owned.phase != Phase::Starting {
            return;
        }
        (owned.phase, owned.committed, owned.is_chosen) = (Phase::Reading, committed, is_chosen);
        owned.tracker = Tracker::new(start);
        self.read_on(taken.id, &mut state);
    }

    /// Begins to let a partition go; returns its name if that is new.
    pub(super) fn revoke(&self, id: PartitionId, until: Instant) -> Option<TopicPartition> {
        let mut state = self.lock();
        let owned = state.owned.get_mut(&id)?;
        if matches!(owned.phase, Phase::Revoking(_)) {
            return None;
        }
        let is_known = owned.phase != Phase::Starting;
        owned.phase = Phase::Revoking(until);
        if !is_known {
            // Its position is not known: nothing of it may be committed.
            owned.committed = Some(owned.tracker.position());
        }
        let name = owned.name(id);
        self.stop_reading(id, state);
        Some(name)
    }

    /// Drops a partition; acknowledgements that are not committed answer why.
    pub(super) fn lose(&self, id: PartitionId, why: &AckError) -> Option<TopicPartition> {
        let mut state = self.lock();
        let owned = state.owned.remove(&id)?;
        self.stop_reading(id, state);
        let name = owned.name(id);
        owned.metrics.lag.set(0.0);
        owned.give_up(why);
        Some(name)
    }

    /// Drops everything.
    pub(super) fn lose_all(&self, why: &AckError) -> Vec<TopicPartition> {
        self.ids().into_iter().filter_map(|id| self.lose(id, why)).collect()
    }

    /// Stops reading everything; what was handed out can still be acknowledged.
    pub(super) fn stop(&self) {
        self.plan.clear();
        let mut state = self.lock();
        state.is_stopping = true;
        let ids: Vec<PartitionId> = state.owned.keys().copied().collect();
        for id in &ids {
            let generation = state.next_generation();
            if let Some(owned) = state.owned.get_mut(id) {
                owned.generation = generation;
            }
        }
        // What is not known is not waited for.
        state.owned.retain(|_, owned| owned.phase != Phase::Starting);
        drop(state);
        ids.into_iter().for_each(|id| self.output.discard(id));
    }

    /// What is held, in the sense of the group.
    pub(super) fn ids(&self) -> Vec<PartitionId> {
        self.lock().owned.keys().copied().collect()
    }

    /// Partitions whose messages are settled, or whose time is up.
    pub(super) fn settled(&self, now: Instant) -> Vec<PartitionId> {
        let state = self.lock();
        let is_settled = |owned: &Owned| match owned.phase {
            Phase::Revoking(until) => owned.tracker.held() == 0 || now >= until,
            Phase::Starting | Phase::Reading => false,
        };
        state.owned.iter().filter(|(_, owned)| is_settled(owned)).map(|(id, _)| *id).collect()
    }

    /// When a revoked partition is let go at the latest.
    pub(super) fn release_of(&self, id: PartitionId) -> Option<Instant> {
        match self.lock().owned.get(&id)?.phase {
            Phase::Revoking(until) => Some(until),
            Phase::Starting | Phase::Reading => None,
        }
    }

    /// When the next partition is let go at the latest.
    pub(super) fn next_release(&self) -> Option<Instant> {
        let state = self.lock();
        let until = |owned: &Owned| match owned.phase {
            Phase::Revoking(until) => Some(until),
            Phase::Starting | Phase::Reading => None,
        };
        state.owned.values().filter_map(until).min()
    }

    /// Messages that the application holds unacknowledged.
    pub(super) fn held(&self) -> usize {
        self.lock().owned.values().map(|owned| owned.tracker.held()).sum()
    }

    /// The message that is unacknowledged for the longest time.
    pub(super) fn oldest(&self) -> Option<(TopicPartition, u64, Instant)> {
        let state = self.lock();
        let oldest = state.owned.iter().filter_map(|(id, owned)| {
            let (offset, since) = owned.tracker.oldest()?;
            Some((owned.name(*id), offset, since))
        });
        oldest.min_by_key(|(.., since)| *since)
    }

    /// All partitions with their positions.
    pub(super) fn positions(&self) -> BTreeMap<TopicPartition, u64> {
        let state = self.lock();
        let known = state.owned.iter().filter(|(_, owned)| owned.phase != Phase::Starting);
        known.map(|(id, owned)| (owned.name(*id), owned.tracker.position())).collect()
    }

    /// All partitions that are this member's and not to be let go.
    pub(super) fn assignment(&self) -> Vec<TopicPartition> {
        let state = self.lock();
        let kept = |owned: &Owned| !matches!(owned.phase, Phase::Revoking(_));
        state.owned.iter().filter(|(_, it)| kept(it)).map(|(id, it)| it.name(*id)).collect()
    }

    /// The end of a partition at this moment.
    pub(super) fn at_end(&self, id: PartitionId, generation: u64, high_watermark: u64) {
        let mut state = self.lock();
        let owned = state.owned.get_mut(&id).filter(|owned| owned.generation == generation);
        if let Some(owned) = owned {
            owned.high_watermark = Some(high_watermark);
        }
    }

    /// Shows how far behind each topic is.
    pub(super) fn show_lag(&self) {
        let mut state = self.lock();
        let mut by_topic: BTreeMap<Arc<str>, (f64, Gauge)> = BTreeMap::new();
        for owned in state.owned.values() {
            let Some(end) = owned.high_watermark else { continue };
            let lag = u32::try_from(end.saturating_sub(owned.tracker.position()));
            let entry = by_topic.entry(Arc::clone(&owned.topic));
            let (sum, _) = entry.or_insert_with(|| (0.0, owned.metrics.lag.clone()));
            *sum += f64::from(lag.unwrap_or(u32::MAX));
        }
        let gone = state.shown.0.iter().filter(|(topic, _)| !by_topic.contains_key(*topic));
        gone.for_each(|(_, gauge)| gauge.set(0.0));
        by_topic.values().for_each(|(lag, gauge)| gauge.set(*lag));
        state.shown.0 = by_topic.into_iter().map(|(topic, (_, gauge))| (topic, gauge)).collect();
    }

    /// Reads on from what was handed out last, in a new generation.
    fn read_on(&self, id: PartitionId, state: &mut State) {
        let generation = state.next_generation();
        let Some(owned) = state.owned.get_mut(&id) else { return };
        owned.generation = generation;
        if owned.is_paused || owned.phase != Phase::Reading {
            return;
        }
        let bounds = Bounds { start: owned.tracker.next(), end: None };
        self.plan.set(id, Wanted { topic: owned.topic.clone(), generation, bounds });
    }

    /// Nothing that was fetched of a partition is delivered any more.
    fn stop_reading(&self, id: PartitionId, mut state: MutexGuard<'_, State>) {
        let generation = state.next_generation();
        if let Some(owned) = state.owned.get_mut(&id) {
            owned.generation = generation;
        }
        self.plan.remove(id);
        drop(state);
        self.output.discard(id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

impl State {
    fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }
}

impl Owned {
    fn name(&self, id: PartitionId) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: id.index.get() }
    }

    /// Nothing that was handed out can be acknowledged any more.
    fn give_up(mut self, why: &AckError) {
        // A fate is set once, by who takes the entry out.
        let _ = self.fate.set(why.clone());
        self.refuse(u64::MAX, why);
    }

    /// Answers those who wait for messages below `end`.
    fn refuse(&mut self, end: u64, why: &AckError) {
        let later = self.waiters.split_off(&end);
        let refused = std::mem::replace(&mut self.waiters, later);
        for waiter in refused.into_values().flatten() {
            // Who stopped waiting needs no answer.
            let _ = waiter.send(Err(why.clone()));
        }
    }
}
