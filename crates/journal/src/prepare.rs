//! The next file, ready before it is needed, and the purged files it is made of.
//!
//! Blocks that were written once flush several times faster than blocks that are only reserved, so
//! a new file is filled with zeros and a purged one is used again under its next number. Both take
//! long: a helper thread does it while the writer still has room.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use quipu_disk::{Disk, DiskFile, OpenMode};

use crate::{Config, JournalFileId};

/// A file filled with zeros or bytes of an earlier life, its name durable.
pub(crate) struct Prepared {
    pub(crate) id: JournalFileId,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The length up to which frames should go.
    pub(crate) capacity: u64,
}

pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    spares_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The number the next file will have.
    next: JournalFileId,
    ready: Option<Prepared>,
    /// Somebody is making the next file at this moment.
    is_making: bool,
    /// Whether making it in advance failed: then nobody tries again before it is needed, or
    /// before a purged file may help.
    has_failed: bool,
    /// Purged files under their old names.
    spares: VecDeque<JournalFileId>,
    is_stopping: bool,
}

/// What a file is made of.
#[derive(Clone, Copy)]
enum Source {
    Spare(JournalFileId),
    Zeros,
    /// No room for zeros: it grows as it is written.
    Nothing,
}

impl Preparer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: &Config,
        next: JournalFileId,
        spares: Vec<JournalFileId>,
    ) -> Self {
        let state = State {
            next,
            ready: None,
            is_making: false,
            has_failed: false,
            spares: spares.into(),
            is_stopping: false,
        };
        Self {
            disk,
            dir,
            file_bytes: config.file_bytes,
            spares_max: config.recycled_files_max,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn path(&self, id: JournalFileId) -> PathBuf {
        self.dir.join(id.file_name())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the next file; makes it now if it is not ready.
    pub(crate) fn take(&self) -> io::Result<Prepared> {
        let mut state = self.state();
        while state.is_making {
            state = self.wait(state);
        }
        let prepared = match state.ready.take() {
            Some(prepared) => prepared,
            None => {
                let (id, spare) = (state.next, state.spares.pop_front());
                state.is_making = true;
                drop(state);
                let made = self.make_now(id, spare);
                state = self.state();
                state.is_making = false;
                made?
            }
        };
        state.next = prepared.id.next();
        state.has_failed = false;
        self.changed.notify_all();
        Ok(prepared)
    }

    /// Gives purged files back. What made them free is durable.
    pub(crate) fn recycle(&self, files: Vec<JournalFileId>) {
        let mut state = self.state();
        state.spares.extend(files);
        state.has_failed = false;
        self.changed.notify_all();
    }

    /// Makes the next file and removes spares beyond the bound, until stopped: the helper thread.
    pub(crate) fn run(&self) {
        loop {
            while self.work() {}
            let state = self.state();
            if state.is_stopping {
                return;
            }
            if !state.has_work(self.spares_max) {
                drop(self.wait(state));
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
        self.changed.notify_all();
    }

    /// One step of what may be done in advance; says whether there was any.
    pub(crate) fn work(&self) -> bool {
        let mut state = self.state();
        if state.is_stopping || !state.has_work(self.spares_max) {
            return false;
        }
        if state.wants_next() {
            let (id, spare) = (state.next, state.spares.pop_front());
            state.is_making = true;
            drop(state);
            let made = self.make(id, spare.map_or(Source::Zeros, Source::Spare));
            let mut state = self.state();
            state.is_making = false;
            match made {
                Ok(prepared) => state.ready = Some(prepared),
                Err(error) => {
                    tracing::warn!(file = %id, %error, "cannot prepare the next journal file");
                    state.has_failed = true;
                }
            }
            self.changed.notify_all();
        } else if let Some(spare) = state.spares.pop_back() {
            drop(state);
            self.discard(spare);
        }
        true
    }

    fn discard(&self, spare: JournalFileId) {
        quipu_failpoint::hit("journal.discard.before");
        let removed = self.disk.remove_file(&self.path(spare));
        quipu_failpoint::hit("journal.discard.after");
        // A name that comes back after a power cut is found to be free again.
        if let Err(error) = removed.and_then(|()| self.disk.sync_dir(&self.dir)) {
            tracing::warn!(file = %spare, %error, "cannot remove a purged journal file");
        }
    }

    /// Makes a file without regard to speed: the writer waits for it.
    fn make_now(&self, id: JournalFileId, spare: Option<JournalFileId>) -> io::Result<Prepared> {
        let made = self.make(id, spare.map_or(Source::Zeros, Source::Spare));
        match made {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(file = %id, "no room for a whole journal file: it grows as written");
                self.make(id, Source::Nothing)
            }
            made => made,
        }
    }

    fn make(&self, id: JournalFileId, source: Source) -> io::Result<Prepared> {
        let path = self.path(id);
        let file = match source {
            Source::Spare(spare) => match self.rename_spare(spare, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.create(&path, self.file_bytes)?
                }
                renamed => renamed?,
            },
            Source::Zeros => self.create(&path, self.file_bytes)?,
            Source::Nothing => self.create(&path, 0)?,
        };
        let capacity = file.len()?.max(self.file_bytes);
        Ok(Prepared { id, file, capacity })
    }

    fn rename_spare(&self, spare: JournalFileId, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        quipu_failpoint::hit("journal.recycle.rename.before");
        self.disk.rename(&self.path(spare), path)?;
        quipu_failpoint::hit("journal.recycle.sync-dir.before");
        // Before the first byte of the new life: or the old name would lead to it.
        self.disk.sync_dir(&self.dir)?;
        quipu_failpoint::hit("journal.recycle.sync-dir.after");
        let file: Arc<dyn DiskFile> = self.disk.open(path, OpenMode::ReadWrite)?.into();
        let bytes = file.len()?;
        if bytes < self.file_bytes {
            fill(&*file, bytes, self.file_bytes)?;
        }
        Ok(file)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let temporary = path.with_extension("new");
        if self.disk.exists(&temporary) {
            self.disk.remove_file(&temporary)?;
        }
        quipu_failpoint::hit("journal.create.before");
        let file: Arc<dyn DiskFile> = self.disk.open(&temporary, OpenMode::CreateNew)?.into();
        quipu_failpoint::hit("journal.create.fill.before");
        let filled = fill(&*file, 0, bytes);
        if let Err(error) = filled {
            // Gives the room back; what cannot be removed is removed at the next start.
            let _ = self.disk.remove_file(&temporary);
            return Err(error);
        }
        quipu_failpoint::hit("journal.create.rename.before");
        self.disk.rename(&temporary, path)?;
        quipu_failpoint::hit("journal.create.sync-dir.before");
        self.disk.sync_dir(&self.dir)?;
        quipu_failpoint::hit("journal.create.sync-dir.after");
        Ok(file)
    }
}

/// Writes zeros in steps, each flushed, so that the writer's own flushes never wait for many.
fn fill(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    const STEP: u64 = 2 << 20;
    let mut at = from;
    while at < to {
        let end = to.min(at + STEP);
        file.fill_zero(at, end)?;
        file.sync_data()?;
        at = end;
    }
    file.sync_all()
}

impl State {
    fn wants_next(&self) -> bool {
        self.ready.is_none() && !self.is_making && !self.has_failed
    }

    fn has_work(&self, spares_max: usize) -> bool {
        self.wants_next() || self.spares.len() > spares_max
    }
}
