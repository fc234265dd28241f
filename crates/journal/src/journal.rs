//! Opening, closing, and the threads in between.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use quipu_disk::Disk;
use quipu_types::ShardId;

use crate::RecoveryReport;
use crate::group::{Group, TailBytes};
use crate::prepare::Preparer;
use crate::queue::Op;
use crate::recovery::{Recovered, recover};
use crate::shared::Shared;
use crate::writer::Writer;
use crate::{Config, FlushFailed, GroupJournal, GroupState, JournalStats, OpenError};

/// Called once, with the reason, when the journal can write no more: the node must stop.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// The write-ahead log of a node, shared by all its groups.
///
/// Dropping it flushes and stops like [`Self::close`], without the answer.
pub struct Journal {
    shared: Arc<Shared>,
    preparer: Arc<Preparer>,
    drive: Drive,
}

/// Who does the work.
enum Drive {
    Threads { writer: JoinHandle<Result<(), FlushFailed>>, preparer: JoinHandle<()> },
    Steps(Box<Mutex<Writer>>),
    Closed,
}

impl Journal {
    /// Recovers the journal in `dir` (made if missing) and starts its writer.
    ///
    /// The directory must belong to this process alone: hold its lock.
    ///
    /// # Errors
    /// `Damaged` and `Missing`: entries that were durable once cannot be read; nothing was
    /// changed. `Io`: the disk refused; a later try may succeed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Config,
        on_fatal: OnFatal,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let (mut journal, mut writer, report) = Self::prepare(disk, dir, config, on_fatal)?;
        let preparer = Arc::clone(&journal.preparer);
        journal.drive = Drive::Threads {
            writer: spawn("journal-writer", move || write(&mut writer))?,
            preparer: spawn("journal-files", move || preparer.run())?,
        };
        Ok((journal, report))
    }

    /// Like [`Self::open`], without threads: all work happens in [`Self::step`]. For simulators.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Config,
        on_fatal: OnFatal,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let (mut journal, writer, report) = Self::prepare(disk, dir, config, on_fatal)?;
        journal.drive = Drive::Steps(Box::new(Mutex::new(writer)));
        Ok((journal, report))
    }

    fn prepare(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Config,
        on_fatal: OnFatal,
    ) -> Result<(Self, Writer, RecoveryReport), OpenError> {
        config.validate().map_err(OpenError::Config)?;
        let failed = |action, source| OpenError::Io { action, path: dir.clone(), source };
        disk.create_dir_all(&dir).map_err(|error| failed("make", error))?;
        let recovered = recover(&*disk, &dir)?;
        let Recovered { ledger, indexes, files, spares, next, report } = recovered;
        log_report(&dir, &report);
        let tail_bytes = TailBytes::default();
        let groups = groups(&ledger.groups, indexes, &tail_bytes);
        let shared = Arc::new(Shared::new(tail_bytes, groups, files));
        let preparer = Preparer::new(disk, dir.clone(), &config, next, spares);
        let preparer = Arc::new(preparer);
        let parts = (Arc::clone(&shared), Arc::clone(&preparer));
        let writer = Writer::new(parts.0, parts.1, config, on_fatal, ledger)
            .map_err(|error| failed("start a file in", error))?;
        Ok((Self { shared, preparer, drive: Drive::Closed }, writer, report))
    }

    /// A group's part, made if it is new.
    #[must_use]
    pub fn group(&self, shard: ShardId) -> GroupJournal {
        GroupJournal::new(Arc::clone(&self.shared), self.shared.group(shard))
    }

    /// Groups that hold anything, in order.
    #[must_use]
    pub fn groups(&self) -> Vec<ShardId> {
        let all = self.shared.all_groups().into_iter();
        all.map(|group| GroupJournal::new(Arc::clone(&self.shared), group))
            .filter(|group| group.state() != GroupState::default())
            .map(|group| group.shard())
            .collect()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        self.shared.stats()
    }

    /// Does what waits, if there are no threads to do it; says whether there was anything.
    pub fn step(&self) -> bool {
        match &self.drive {
            Drive::Steps(writer) => {
                let has_written = writer.lock().unwrap_or_else(PoisonError::into_inner).step();
                self.preparer.work() || has_written
            }
            Drive::Threads { .. } | Drive::Closed => false,
        }
    }

    /// Returns once everything handed over before is durable, under every flush policy. Blocks; a
    /// journal without threads does the work here.
    ///
    /// # Errors
    /// When this or an earlier write or flush failed, or the journal was closed.
    pub fn flush(&self) -> Result<(), FlushFailed> {
        let (sender, flushed) = mpsc::channel();
        let on_flushed = Box::new(move |result| drop(sender.send(result)));
        if let Err(op) = self.shared.queue.push(Op::Barrier { on_flushed }) {
            op.fail(&FlushFailed::new("the journal is closed"));
        }
        while self.step() {}
        flushed.recv().unwrap_or_else(|_| Err(FlushFailed::new("the journal has stopped")))
    }

    /// Writes and flushes what waits, then stops. Later calls on handles fail.
    ///
    /// # Errors
    /// When this or an earlier write or flush failed.
    pub fn close(mut self) -> Result<(), FlushFailed> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), FlushFailed> {
        self.shared.queue.stop();
        self.preparer.stop();
        match std::mem::replace(&mut self.drive, Drive::Closed) {
            Drive::Threads { writer, preparer } => {
                let result = writer.join();
                // It ends by itself; a panic in it was reported when it happened.
                let _ = preparer.join();
                result.unwrap_or_else(|_| Err(FlushFailed::new("the journal's writer panicked")))
            }
            Drive::Steps(writer) => {
                writer.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
            }
            Drive::Closed => Ok(()),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Who wants the answer calls `close`; the failure was reported as fatal before.
        let _ = self.finish();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn groups(
    ledgers: &BTreeMap<ShardId, crate::ledger::GroupLedger>,
    mut indexes: BTreeMap<ShardId, crate::index::Index>,
    tail_bytes: &TailBytes,
) -> BTreeMap<ShardId, Arc<Group>> {
    ledgers
        .iter()
        .map(|(shard, ledger)| {
            let index = indexes.remove(shard).unwrap_or_default();
            let group = Group::recovered(*shard, ledger, index, Arc::clone(tail_bytes));
            (*shard, Arc::new(group))
        })
        .collect()
}

/// The writer's thread: a panic in it ends the journal like a failed flush.
fn write(writer: &mut Writer) -> Result<(), FlushFailed> {
    loop {
        match catch_unwind(AssertUnwindSafe(|| writer.run())) {
            Ok(result) => return result,
            Err(_) => writer.fail("the journal's writer panicked".to_owned()),
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, OpenError> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| OpenError::Io {
        action: "start a thread for",
        path: PathBuf::from(name),
        source,
    })
}

fn log_report(dir: &std::path::Path, report: &RecoveryReport) {
    let dir = dir.display();
    tracing::info!(%dir, ?report, "journal recovered");
    if let Some(torn) = report.torn {
        tracing::warn!(%dir, %torn, "journal ended in an unfinished write, which was cut off");
    }
    for ambiguous in &report.ambiguous {
        tracing::warn!(
            %dir,
            shard = %ambiguous.shard,
            position = %ambiguous.position,
            "a frame cut off here may once have been whole"
        );
    }
}
