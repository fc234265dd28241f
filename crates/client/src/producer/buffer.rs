//! Records that wait for their batch to be sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quipu_types::record::{BatchBuilder, Record};

use super::delivery::{Awaited, Delivery, Settle, cell};
use super::topic::TopicInfo;
use crate::{Error, Result};

/// Batches grow from here: many partitions with few records must not cost a full batch each.
const BUILDER_BYTES: usize = 4 << 10;

/// A batch that may still grow.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    /// Grows over all batches of a producer.
    pub(crate) id: u64,
    pub(crate) builder: BatchBuilder,
    /// When its first record joined, counted from the producer's start.
    pub(crate) opened_at: Duration,
    /// Room to give back when it is settled.
    pub(crate) reserved: usize,
    pub(crate) settle: Settle,
    awaited: Awaited,
}

/// The buffer of one partition.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) topic: Arc<TopicInfo>,
    pub(crate) partition: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sealed: VecDeque<OpenBatch>,
    open: Option<OpenBatch>,
    /// The sender was told and has not looked yet.
    is_announced: bool,
}

/// A record and what joining takes.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) record: &'a Record,
    pub(crate) reserved: usize,
    pub(crate) now: Duration,
    pub(crate) batch_bytes: usize,
}

/// What the caller must do after a record joined.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) delivery: Delivery,
    /// Tell the sender.
    pub(crate) announce: bool,
}

/// What waits in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nothing,
    /// A batch that can grow: its id, and when it was opened.
    Open {
        id: u64,
        opened_at: Duration,
    },
    /// A batch that is full.
    Sealed,
}

impl Buffer {
    pub(crate) fn new(topic: Arc<TopicInfo>, partition: u32) -> Self {
        Self { topic, partition, state: Mutex::default() }
    }

    /// Adds a record to the open batch, or to a new one when it would not fit. `register` gets
    /// what a new batch is awaited by and gives the batch its number.
    pub(crate) fn join(
        &self,
        joining: &Joining<'_>,
        register: impl FnOnce(Awaited) -> Result<u64>,
    ) -> Result<Joined> {
        let mut state = self.lock();
        let is_full = state
            .open
            .as_ref()
            .is_some_and(|open| open.builder.size_bytes_with(joining.record) > joining.batch_bytes);
        if is_full {
            state.seal();
        }
        let is_new = state.open.is_none();
        let index = match &mut state.open {
            Some(open) => open.push(joining)?,
            None => {
                // Registered only once the record has joined: an empty batch is never awaited.
                let mut open = OpenBatch::new(joining);
                let index = open.push(joining)?;
                open.id = register(open.awaited.clone())?;
                state.open = Some(open);
                index
            }
        };
        let open = state.open.as_ref().expect("just filled");
        let delivery = Delivery {
            batch: open.awaited.clone(),
            index,
            topic: self.topic.name.clone(),
            partition: self.partition,
            timestamp: joining.record.timestamp,
        };
        let announce = is_new && !state.is_announced;
        state.is_announced |= announce;
        Ok(Joined { delivery, announce })
    }

    /// The sender looks: what comes next?
    pub(crate) fn waiting(&self) -> Waiting {
        let mut state = self.lock();
        state.is_announced = false;
        match (&state.open, state.sealed.is_empty()) {
            (_, false) => Waiting::Sealed,
            (Some(open), true) => Waiting::Open { id: open.id, opened_at: open.opened_at },
            (None, true) => Waiting::Nothing,
        }
    }

    /// Takes the oldest batch, full or not.
    pub(crate) fn take(&self) -> Option<OpenBatch> {
        let mut state = self.lock();
        state.sealed.pop_front().or_else(|| state.open.take())
    }

    /// Takes the oldest batch if it was opened at `before` or earlier.
    pub(crate) fn take_opened_before(&self, before: Duration) -> Option<OpenBatch> {
        let mut state = self.lock();
        let oldest = state.sealed.front().or(state.open.as_ref())?;
        if oldest.opened_at > before {
            return None;
        }
        state.sealed.pop_front().or_else(|| state.open.take())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

impl State {
    fn seal(&mut self) {
        self.sealed.extend(self.open.take());
    }
}

impl OpenBatch {
    fn new(joining: &Joining<'_>) -> Self {
        let bytes = joining.reserved.max(BUILDER_BYTES).min(joining.batch_bytes);
        let (settle, awaited) = cell();
        Self {
            id: 0,
            builder: BatchBuilder::with_capacity(joining.record.timestamp, bytes),
            opened_at: joining.now,
            reserved: 0,
            settle,
            awaited,
        }
    }

    /// Adds a record; returns its place.
    fn push(&mut self, joining: &Joining<'_>) -> Result<u64> {
        let index = u64::from(self.builder.record_count());
        let pushed = self.builder.push(joining.record);
        pushed.map_err(|error| Error::local(error.code(), error.to_string()))?;
        self.reserved += joining.reserved;
        Ok(index)
    }
}
