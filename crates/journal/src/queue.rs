//! What waits for the writer, from all groups, in order of arrival.
//!
//! Bounded by its callers: bytes enter a node only with a permit (`NODE_REQUEST_BYTES_MAX`,
//! `PEER_APPENDS_IN_FLIGHT_MAX`), and blocking here would stop heartbeats and votes.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quipu_types::{EntryId, LogIndex, ShardId};

use crate::group::Group;
use crate::limits::BATCH_BYTES_MAX;
use crate::{FlushCallback, FlushFailed, JournalEntry};

/// One call of a group.
pub(crate) enum Op {
    Append {
        group: Arc<Group>,
        entries: Vec<JournalEntry>,
        on_flushed: FlushCallback,
    },
    Vote {
        shard: ShardId,
        vote: Bytes,
        on_flushed: FlushCallback,
    },
    Truncate {
        group: Arc<Group>,
        last_kept: Option<LogIndex>,
    },
    Purge {
        shard: ShardId,
        upto: EntryId,
    },
    Remove {
        shard: ShardId,
    },
    Barrier {
        on_flushed: FlushCallback,
    },
    /// A call on a removed group: answered in turn.
    Refused {
        error: FlushFailed,
        on_flushed: FlushCallback,
    },
}

impl Op {
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Vote { .. }
            | Self::Truncate { .. }
            | Self::Purge { .. }
            | Self::Remove { .. }
            | Self::Barrier { .. }
            | Self::Refused { .. } => 0,
        }
    }

    /// Whether it must be durable before it is answered, whatever the flush policy.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Vote { .. } | Self::Barrier { .. } => true,
            Self::Append { .. }
            | Self::Truncate { .. }
            | Self::Purge { .. }
            | Self::Remove { .. }
            | Self::Refused { .. } => false,
        }
    }

    /// Answers that it will not be durable.
    pub(crate) fn fail(self, failure: &FlushFailed) {
        match self {
            Self::Append { on_flushed, .. }
            | Self::Vote { on_flushed, .. }
            | Self::Barrier { on_flushed } => on_flushed(Err(failure.clone())),
            Self::Refused { error, on_flushed } => on_flushed(Err(error)),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Remove { .. } => {}
        }
    }
}

/// What one write takes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
    /// The newest committed id of each group that has a new one.
    pub(crate) committed: BTreeMap<ShardId, Bytes>,
}

/// What the writer should do next.
pub(crate) enum Work {
    Write(Batch),
    /// Nothing came within the time given.
    TimedOut,
    /// Nothing waits and nothing will come.
    Stop,
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Default)]
struct QueueState {
    ops: VecDeque<Op>,
    committed: BTreeMap<ShardId, Bytes>,
    is_writer_waiting: bool,
    is_stopping: bool,
    /// Set once nobody will take anything out any more.
    is_closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a call; gives it back when the journal is closed.
    pub(crate) fn push(&self, op: Op) -> Result<(), Op> {
        let mut state = self.state();
        if state.is_closed {
            return Err(op);
        }
        if let Op::Remove { shard } = op {
            state.committed.remove(&shard);
        }
        state.ops.push_back(op);
        self.wake(&state);
        Ok(())
    }

    /// Leaves a committed id for the next write; wakes nobody.
    pub(crate) fn leave_committed(&self, shard: ShardId, committed: Bytes) {
        let mut state = self.state();
        if !state.is_closed {
            state.committed.insert(shard, committed);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state().ops.is_empty()
    }

    /// Takes what waits, without waiting. After a stop was asked for, committed ids are work too.
    pub(crate) fn take(&self) -> Option<Batch> {
        take_batch(&mut self.state())
    }

    /// Takes what waits, or waits for it.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Work {
        let mut state = self.state();
        loop {
            if let Some(batch) = take_batch(&mut state) {
                return Work::Write(batch);
            }
            if state.is_stopping {
                return Work::Stop;
            }
            state.is_writer_waiting = true;
            let mut is_late = false;
            state = match timeout {
                None => {
                    let woken = self.arrived.wait(state);
                    woken.unwrap_or_else(std::sync::PoisonError::into_inner)
                }
                Some(timeout) => {
                    let woken = self.arrived.wait_timeout(state, timeout);
                    let (state, result) = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
                    is_late = result.timed_out();
                    state
                }
            };
            state.is_writer_waiting = false;
            if is_late && state.ops.is_empty() && !state.is_stopping {
                return Work::TimedOut;
            }
        }
    }

    /// Lets the writer finish what waits, then stop.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.is_stopping = true;
        self.wake(&state);
    }

    /// Refuses everything from now on, and gives back what waits.
    pub(crate) fn close(&self) -> Vec<Op> {
        let mut state = self.state();
        state.is_closed = true;
        state.committed.clear();
        mem::take(&mut state.ops).into()
    }

    fn wake(&self, state: &QueueState) {
        if state.is_writer_waiting {
            self.arrived.notify_one();
        }
    }
}

fn take_batch(state: &mut QueueState) -> Option<Batch> {
    let has_last_words = state.is_stopping && !state.committed.is_empty();
    if state.ops.is_empty() && !has_last_words {
        return None;
    }
    let mut batch = Batch::default();
    let mut bytes = 0;
    while let Some(op) = state.ops.front() {
        bytes += op.payload_bytes();
        if bytes > BATCH_BYTES_MAX && !batch.ops.is_empty() {
            return Some(batch);
        }
        batch.ops.extend(state.ops.pop_front());
    }
    // A committed id names entries that were enqueued before it: all are taken by now.
    batch.committed = mem::take(&mut state.committed);
    Some(batch)
}
