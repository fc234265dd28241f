//! One shard's replica on the node, driven as consensus drives it.

mod checkpoint;
mod install;
mod log;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_consensus::{AppliedState, Payload, StateMachine};
use quipu_journal::{FlushCallback, GroupJournal};
use quipu_runtime::Rng;
use quipu_shard::sim::SimShard;
use quipu_shard::{Outcome, reply};
use quipu_types::{EntryId, LogIndex, ShardId};

use crate::cluster::{Cluster, count, payload, place};
use crate::commands::one_in;
use crate::journal_model::{Held, JournalModel, Record};
use crate::node::Node;
use crate::peer::Peer;
use crate::plant::Plant;
use crate::stop::{Step, Stop, check};

/// A checkpoint that a start may find.
#[derive(Clone, Debug)]
struct Point {
    state: AppliedState,
    /// Made by a snapshot: the journal may end before it.
    is_installed: bool,
}

/// What callbacks of the journal said.
#[derive(Debug, Default)]
struct Heard {
    /// Calls known to be durable.
    acknowledged: usize,
    /// The callback that comes next.
    next: u64,
    is_out_of_order: bool,
}

/// A replica, and what it must still hold after a crash.
pub(crate) struct Replica {
    shard: ShardId,
    cluster: Cluster,
    peer: Option<Peer>,
    calls: JournalModel,
    heard: Arc<Mutex<Heard>>,
    callbacks: u64,
    /// The last durable checkpoint, and those tried since.
    points: Vec<Point>,
    votes: u64,
    running: Option<Running>,
}

/// What dies with the process.
struct Running {
    shard: SimShard,
    journal: GroupJournal,
    /// Entries applied.
    applied: usize,
    /// The last entry, as consensus believes.
    last: Option<EntryId>,
}

impl Replica {
    pub(crate) fn new(shard: ShardId) -> Self {
        let state = AppliedState::default();
        Self {
            shard,
            cluster: Cluster::new(),
            peer: None,
            calls: JournalModel::default(),
            heard: Arc::default(),
            callbacks: 0,
            points: vec![Point { state, is_installed: false }],
            votes: 0,
            running: None,
        }
    }

    /// Begins a life: checks what the last one left.
    pub(crate) fn start(&mut self, node: &Node) -> Step {
        let journal = node.journal.group(self.shard);
        let held = Held::read(&journal).map_err(|error| node.stop(error))?;
        let acknowledged = self.heard().acknowledged;
        self.calls.recovered(acknowledged, held)?;
        self.heard = Arc::default();
        self.callbacks = 0;
        self.check_committed(&journal)?;
        let env = node.shard_env(self.shard);
        let shard = SimShard::open(env, self.shard).map_err(|error| node.stop(error))?;
        let applied = self.check_point(&shard, &journal)?;
        let last = journal.state().last;
        self.running = Some(Running { shard, journal, applied, last });
        self.compare(node)?;
        self.close_the_gap()?;
        if node.has(Plant::AppliedTwice) {
            self.step_back();
        }
        Ok(())
    }

    /// For [`Plant::AppliedTwice`]: forgets that the checkpoint's last entry was applied.
    fn step_back(&mut self) {
        let running = self.running.as_mut().expect("a replica that runs");
        let last = running.applied.checked_sub(1).map(index);
        let purged = running.journal.state().purged;
        if let Some(last) = last.filter(|last| purged.is_none_or(|purged| purged.index < *last)) {
            running.applied = place(last);
        }
    }

    /// The checkpoint is one that was made, and the journal leads on from it.
    fn check_point(&mut self, shard: &SimShard, journal: &GroupJournal) -> Step<usize> {
        let state = shard.machine.applied_state();
        let Some(point) = self.points.iter().find(|point| point.state == state).cloned() else {
            let known: Vec<_> = self.points.iter().map(|point| point.state.applied).collect();
            let found = state.applied;
            let what = format!("a start finds the checkpoint {found:?}, made were {known:?}");
            return Err(Stop::Violation(what));
        };
        let (applied, held) = (count(state.applied), journal.state());
        check(count(held.purged) <= applied, || {
            format!("journal is purged to {:?}, the checkpoint is {applied} entries", held.purged)
        })?;
        check(point.is_installed || count(held.last) >= applied, || {
            format!("checkpoint is {applied} entries, the journal ends at {:?}", held.last)
        })?;
        self.points = vec![point];
        Ok(applied)
    }

    /// A committed id may be old, but never one that was not committed.
    fn check_committed(&self, journal: &GroupJournal) -> Step {
        let Some(saved) = journal.state().committed else { return Ok(()) };
        let saved: [u8; 8] = saved.as_ref().try_into().unwrap_or([0xFF; 8]);
        let saved = u64::from_le_bytes(saved);
        let committed = u64::try_from(self.cluster.committed()).expect("few");
        check(saved <= committed, || format!("{saved} entries committed, saved of {committed}"))
    }

    /// As openraft does at a start: a snapshot beyond the log's end empties the log, one that
    /// conflicts with it is refused.
    fn close_the_gap(&mut self) -> Step {
        let applied = self.points[0].state.applied;
        let running = self.running.as_mut().expect("a replica that runs");
        let Some(upto) = applied.filter(|_| running.last < applied) else { return Ok(()) };
        check(count(running.last) < count(applied), || {
            format!("the journal ends at {:?}, which conflicts with {upto} applied", running.last)
        })?;
        self.calls.record(Record::Purge(upto));
        running.journal.purge(upto);
        running.last = applied;
        Ok(())
    }

    /// Ends a life, whatever the journal still says while it is torn down.
    pub(crate) fn end(&mut self) {
        let heard = std::mem::take(&mut *self.heard());
        self.heard = Arc::new(Mutex::new(heard));
        self.running = None;
    }

    /// Everything that was called is durable: the journal was closed.
    pub(crate) fn all_is_durable(&mut self) {
        let calls = self.calls.count();
        self.heard().acknowledged = calls;
    }

    /// Does one thing that consensus might do now.
    pub(crate) fn act(&mut self, node: &Node, rng: &mut Rng) -> Step {
        match rng.below(100) {
            0..14 => (0..=rng.below(4)).for_each(|_| self.cluster.propose(rng)),
            14..18 => self.cluster.elect(rng),
            18..30 => self.cluster.commit(rng).map_err(Stop::Violation)?,
            30..47 => self.append(node, rng)?,
            47..58 => node.step_journal()?,
            58..75 => self.apply(node, rng)?,
            75..82 => self.checkpoint(node)?,
            82..88 => self.purge(node),
            88..91 => self.vote(node, rng),
            91..93 => self.save_committed(),
            93..95 => self.compare(node)?,
            _ => self.receive_snapshot(node, rng)?,
        }
        let is_out_of_order = self.heard().is_out_of_order;
        check(!is_out_of_order, || "callbacks of the journal out of order".to_owned())
    }

    /// Applies some of what is known to be committed.
    fn apply(&mut self, node: &Node, rng: &mut Rng) -> Step {
        let end = self.matching(node).min(self.cluster.committed());
        let running = self.running.as_mut().expect("a replica that runs");
        if running.applied >= end {
            return Ok(());
        }
        let bytes_max = if one_in(rng, 2) { usize::MAX } else { 2_000 };
        let read = running
            .journal
            .read(index(running.applied), index(end), bytes_max)
            .map_err(|error| node.stop(error))?;
        check(!read.is_empty(), || format!("entry {} is not in the journal", running.applied))?;
        for stored in read {
            let expected = self.cluster.entry(stored.id.index).expect("below the log's end");
            check(stored.id == expected.id && stored.payload == expected.payload, || {
                format!("the journal gives {} where {} is committed", stored.id, expected.id)
            })?;
            let payload = payload(stored.payload);
            let is_command = matches!(payload, Payload::Command(_));
            let applied = running.shard.machine.apply(stored.id, payload);
            let reply = applied.map_err(|error| node.stop(error))?;
            running.applied += 1;
            node.trace.note(format_args!("shard {} applied {}", self.shard, stored.id));
            if is_command {
                let outcomes = reply::decode(&reply.0).map_err(|error| node.stop(error))?;
                same_outcomes(stored.id, &outcomes, self.cluster.outcomes(running.applied))?;
            }
        }
        running.shard.machine.end_of_round();
        Ok(())
    }

    /// Compares everything with the model.
    pub(crate) fn compare(&self, node: &Node) -> Step {
        let running = self.running.as_ref().expect("a replica that runs");
        let model = self.cluster.model(running.applied);
        model.compare(&running.shard.view, &|what| node.stop(what)).map_err(|stop| match stop {
            Stop::Fault => Stop::Fault,
            Stop::Violation(what) => {
                let (shard, applied) = (self.shard, running.applied);
                Stop::Violation(format!("shard {shard} after {applied} entries: {what}"))
            }
        })
    }

    /// A callback that says that all calls so far are durable.
    fn callback(&mut self) -> FlushCallback {
        let (number, calls) = (self.callbacks, self.calls.count());
        self.callbacks += 1;
        let heard = Arc::clone(&self.heard);
        Box::new(move |result| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.is_out_of_order |= heard.next != number;
            heard.next = number + 1;
            if result.is_ok() {
                heard.acknowledged = heard.acknowledged.max(calls);
            }
        })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_outcomes(id: EntryId, found: &[Outcome], expected: &[Outcome]) -> Step {
    check(found == expected, || {
        format!("entry {id} is answered with\n  {found:?}\nshould be\n  {expected:?}")
    })
}

fn index(at: usize) -> LogIndex {
    LogIndex::new(u64::try_from(at).expect("few"))
}
