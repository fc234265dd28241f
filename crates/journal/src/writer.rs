//! The writer: gather what waits, write once, flush once, call back in order.
//!
//! After a write or flush failed, nothing is written any more and every call fails: the kernel may
//! have dropped the pages and would report the next flush as a success (ATC 2020).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::active::Active;
use crate::encoder::Encoder;
use crate::frame::{Kind, Subject};
use crate::ledger::Ledger;
use crate::prepare::Preparer;
use crate::queue::{Batch, Op, Work};
use crate::shared::Shared;
use crate::{Config, FlushFailed, FlushPolicy, JournalPosition, OnFatal};

mod active;
mod settle;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    preparer: Arc<Preparer>,
    config: Config,
    on_fatal: OnFatal,
    ledger: Ledger,
    active: Active,
    encoder: Encoder,
    /// Where the entries of the batch at hand go, in order.
    placed: Vec<JournalPosition>,
    /// When the oldest frame that is not durable was written.
    unflushed_since: Option<Instant>,
    /// Whether frames were flushed since the last mark.
    is_mark_due: bool,
    failure: Option<FlushFailed>,
}

impl Writer {
    /// Starts a file that restates the ledger, durably.
    pub(crate) fn new(
        shared: Arc<Shared>,
        preparer: Arc<Preparer>,
        config: Config,
        on_fatal: OnFatal,
        ledger: Ledger,
    ) -> io::Result<Self> {
        let active = Active::new(preparer.take()?);
        let mut writer = Self {
            shared,
            preparer,
            config,
            on_fatal,
            ledger,
            active,
            encoder: Encoder::default(),
            placed: Vec::new(),
            unflushed_since: None,
            is_mark_due: false,
            failure: None,
        };
        writer.start_file();
        quipu_failpoint::hit("journal.start.before");
        writer.write()?;
        writer.flush()?;
        quipu_failpoint::hit("journal.start.after");
        Ok(writer)
    }

    /// Works until the journal is closed: the writer's thread.
    pub(crate) fn run(&mut self) -> Result<(), FlushFailed> {
        loop {
            if self.shared.queue.is_idle() {
                self.mark();
            }
            match self.shared.queue.wait(self.time_to_flush()) {
                Work::Write(batch) => self.turn(batch),
                Work::TimedOut => self.flush_or_fail(),
                Work::Stop => return self.finish(),
            }
        }
    }

    /// Does what waits, without waiting; says whether there was anything.
    pub(crate) fn step(&mut self) -> bool {
        let batch = self.shared.queue.take();
        let has_worked = batch.is_some();
        if let Some(batch) = batch {
            self.turn(batch);
            self.mark();
        }
        has_worked
    }

    /// Makes everything durable. The queue is empty and refuses more.
    pub(crate) fn finish(&mut self) -> Result<(), FlushFailed> {
        while self.step() {}
        for op in self.shared.queue.close() {
            op.fail(&FlushFailed::new("the journal is closed"));
        }
        self.flush_or_fail();
        self.mark();
        // The last word, worth a flush of its own.
        self.active.awaited = self.active.written;
        self.flush_or_fail();
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Gives up: nothing is written any more.
    pub(crate) fn fail(&mut self, reason: String) {
        if self.failure.is_none() {
            tracing::error!(reason, "journal failed: no more writes");
            self.failure = Some(FlushFailed::new(reason.as_str()));
            (self.on_fatal)(reason);
        }
    }

    /// One batch: one write, one flush (two when a file is full), callbacks in order.
    fn turn(&mut self, batch: Batch) {
        if self.failure.is_none()
            && let Err(error) = self.store(&batch)
        {
            let place = JournalPosition { file: self.active.id, byte: self.active.written };
            self.fail(format!("write or flush journal file at {place}: {error}"));
        }
        match self.failure.clone() {
            Some(failure) => batch.ops.into_iter().for_each(|op| op.fail(&failure)),
            None => self.settle(batch),
        }
        self.placed.clear();
    }

    fn store(&mut self, batch: &Batch) -> io::Result<()> {
        for op in &batch.ops {
            self.encode(op)?;
        }
        for (shard, committed) in &batch.committed {
            self.put(Subject::new(Kind::Committed, *shard), committed)?;
            self.ledger.save_committed(*shard, committed.clone());
        }
        self.write()?;
        let is_urgent = match self.config.flush {
            FlushPolicy::Always => true,
            FlushPolicy::Interval(_) => batch.ops.iter().any(Op::is_urgent) || self.is_late(),
        };
        if is_urgent { self.flush() } else { Ok(()) }
    }

    fn encode(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Append { group, entries, .. } => {
                for entry in entries {
                    let subject = Subject::entry(group.shard, entry.id);
                    let place = self.put(subject, &entry.payload)?;
                    self.ledger.append(place.file, group.shard, entry.id.index);
                    self.placed.push(place);
                }
            }
            Op::Vote { shard, vote, .. } => {
                self.put(Subject::new(Kind::Vote, *shard), vote)?;
                self.ledger.save_vote(*shard, vote.clone());
            }
            Op::Truncate { group, last_kept } => {
                self.put(Subject::truncate(group.shard, *last_kept), &Bytes::new())?;
                self.ledger.truncate_after(group.shard, *last_kept);
            }
            Op::Purge { shard, upto } => {
                self.put(Subject::purge(*shard, *upto), &Bytes::new())?;
                self.ledger.purge(*shard, *upto);
            }
            Op::Remove { shard } => {
                self.put(Subject::new(Kind::Remove, *shard), &Bytes::new())?;
                self.ledger.remove(*shard);
            }
            Op::Barrier { .. } | Op::Refused { .. } => {}
        }
        Ok(())
    }

    fn flush_or_fail(&mut self) {
        if self.failure.is_some() {
            return;
        }
        match self.flush() {
            Ok(()) => self.settle_flush(),
            Err(error) => self.fail(format!("flush journal file {}: {error}", self.active.id)),
        }
    }

    fn interval(&self) -> Option<Duration> {
        match self.config.flush {
            FlushPolicy::Always => None,
            FlushPolicy::Interval(interval) => Some(interval),
        }
    }

    /// How long the written may stay unflushed; `None`: there is nothing, or no hurry.
    fn time_to_flush(&self) -> Option<Duration> {
        let since = self.unflushed_since.filter(|_| self.failure.is_none())?;
        Some(self.interval()?.saturating_sub(since.elapsed()))
    }

    fn is_late(&self) -> bool {
        self.time_to_flush().is_some_and(|left| left.is_zero())
    }
}
