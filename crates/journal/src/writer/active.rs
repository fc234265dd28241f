//! The file being written: frames into it, flushes, and the change to the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quipu_disk::DiskFile;
use quipu_runtime::Clock;
use quipu_types::ShardId;

use super::Writer;
use crate::frame::{HEADER_BYTES, Kind, Subject, frame_bytes, start};
use crate::prepare::Prepared;
use crate::width::to_u64;
use crate::{JournalFileId, JournalPosition};

/// The file being written.
pub(super) struct Active {
    pub(super) id: JournalFileId,
    file: Arc<dyn DiskFile>,
    capacity: u64,
    /// The byte after its start.
    first: u64,
    /// Frames before this byte are written.
    pub(super) written: u64,
    /// The byte after the last frame that somebody waits for: all but a mark at the end.
    pub(super) awaited: u64,
    /// Frames before this byte are durable.
    pub(super) durable: u64,
}

impl Active {
    pub(super) fn new(prepared: Prepared) -> Self {
        let Prepared { id, file, capacity } = prepared;
        Self { id, file, capacity, first: 0, written: 0, awaited: 0, durable: 0 }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durable >= self.awaited
    }
}

impl Writer {
    /// Adds a frame to the write at hand, in a new file if this one is full.
    pub(super) fn put(&mut self, subject: Subject, payload: &Bytes) -> io::Result<JournalPosition> {
        let payload_bytes = u32::try_from(payload.len()).expect("payloads are bounded");
        // With room for a mark, so that the last write of a file is vouched for too.
        let end = self.end() + frame_bytes(payload_bytes) + to_u64(HEADER_BYTES);
        // A frame larger than a whole file still gets a file of its own.
        if end > self.active.capacity && self.end() > self.active.first {
            self.roll()?;
        }
        Ok(self.push(subject, payload))
    }

    pub(super) fn push(&mut self, subject: Subject, payload: &Bytes) -> JournalPosition {
        let place = JournalPosition { file: self.active.id, byte: self.end() };
        self.encoder.push(subject, payload, place, self.active.durable);
        place
    }

    fn end(&self) -> u64 {
        self.active.written + self.encoder.bytes()
    }

    /// Seals the file and goes on in the next. Its start names this file's end as durable, so the
    /// flush comes first.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        self.write()?;
        self.flush()?;
        quipu_failpoint::hit("journal.roll.before");
        // Without a mark at the end: nobody flushed that.
        self.ledger.seal(self.active.id, self.active.durable);
        self.active = Active::new(self.preparer.take()?);
        self.start_file();
        quipu_failpoint::hit("journal.roll.after");
        Ok(())
    }

    pub(super) fn start_file(&mut self) {
        self.push(Subject::new(Kind::Start, ShardId::default()), &start::encode(&self.ledger));
        self.ledger.start_file(self.active.id);
        self.active.first = self.end();
        self.shared.files.insert(self.active.id, Arc::clone(&self.active.file));
        self.count_files();
    }

    pub(super) fn write(&mut self) -> io::Result<()> {
        let (bytes, frames) = (self.encoder.bytes(), self.encoder.frames());
        if bytes == 0 {
            return Ok(());
        }
        quipu_failpoint::hit("journal.write.before");
        self.encoder.write(&*self.active.file, self.active.written)?;
        quipu_failpoint::hit("journal.write.after");
        self.active.written += bytes;
        self.active.awaited = self.active.written;
        self.unflushed_since.get_or_insert_with(Clock::thread_instant);
        self.shared.counters.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        crate::metrics::written(bytes);
        crate::metrics::batch(frames);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.active.is_durable() {
            return Ok(());
        }
        let started = Clock::thread_instant();
        quipu_failpoint::hit("journal.flush.before");
        if !quipu_failpoint::is_planted("plant.journal.flush-skipped") {
            let flushed = self.active.file.sync_data();
            if !quipu_failpoint::is_planted("plant.journal.flush-error-ignored") {
                flushed?;
            }
        }
        quipu_failpoint::hit("journal.flush.after");
        crate::metrics::flushed(started.elapsed());
        self.shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.active.durable = self.active.written;
        self.unflushed_since = None;
        self.is_mark_due = true;
        self.free_files();
        Ok(())
    }

    /// Gives back files that what is durable now made free.
    fn free_files(&mut self) {
        let free = self.ledger.take_free_files();
        if free.is_empty() {
            return;
        }
        quipu_failpoint::hit("journal.purge.before");
        for id in &free {
            self.shared.files.remove(*id);
        }
        self.preparer.recycle(free);
        quipu_failpoint::hit("journal.purge.after");
        self.count_files();
    }

    fn count_files(&self) {
        let count = self.ledger.files.len();
        self.shared.counters.files.store(count, Ordering::Relaxed);
        crate::metrics::files(count);
    }

    /// Leaves word of how far the file is durable, while nothing else waits; not flushed itself.
    pub(super) fn mark(&mut self) {
        if !self.is_mark_due || !self.active.is_durable() || self.failure.is_some() {
            return;
        }
        self.is_mark_due = false;
        let at = self.active.written;
        self.push(Subject::new(Kind::Mark, ShardId::default()), &Bytes::new());
        let bytes = self.encoder.bytes();
        quipu_failpoint::hit("journal.mark.before");
        if let Err(error) = self.encoder.write(&*self.active.file, at) {
            let place = JournalPosition { file: self.active.id, byte: at };
            self.fail(format!("write journal mark at {place}: {error}"));
        }
        self.active.written += bytes;
    }
}
