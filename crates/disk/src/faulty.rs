//! A disk in memory that fails on purpose, by seed.

mod faults;
mod file;
mod inode;
mod names;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use quipu_runtime::Rng;

use self::faults::{Counts, Operation, Verdict, input_output_error, power_is_cut};
use self::file::FaultyFile;
use self::inode::{Inode, InodeId};
use self::names::{Names, Node};
use self::state::{State, to_u64};
use crate::{DirEntry, Disk, DiskFile, LockGuard, OpenMode, Space};

pub use self::faults::Faults;

/// A disk in memory that loses what was not flushed, tears writes, runs full and refuses calls.
///
/// - Clones share the disk. One seed and one sequence of calls give one outcome.
/// - [`Self::power_cut`] gives what a machine would find after the power came back: of the sectors
///   and names that were not flushed, some arrived and some did not, in any order.
/// - [`Self::restart`] gives what a process would find after `kill -9`: everything written, flushed
///   or not.
/// - After a flush that failed, the lost sectors read as written, count as clean and are gone after
///   the next power cut (ATC 2020, fsync failures on ext4).
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with(State {
            rng: Rng::seeded(seed ^ 0x05EE_DD15),
            faults,
            counts: Counts::default(),
            is_dead: false,
            names: Names::default(),
            inodes: BTreeMap::new(),
            inodes_made: 0,
            locked: BTreeSet::new(),
        })
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Plans other faults; the counts they refer to start again.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.counts = Counts::default();
    }

    /// Calls that changed something since the faults were set: writes, flushes, names.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.state().counts.mutations
    }

    /// Flushes of files since the faults were set.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().counts.syncs
    }

    /// Whether the planned power cut has happened: every call fails from then on.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Cuts the power: the disk as the next start finds it, without faults. Open handles of the
    /// old disk do not reach the new one.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        let mut state = self.state();
        state.is_dead = true;
        let mut rng = Rng::seeded(state.rng.next_u64());
        let names = state.names.survive(&mut rng);
        let mut inodes = BTreeMap::new();
        for id in names.files() {
            let inode = state.inodes.get(&id).expect("every name leads to an inode");
            inodes.insert(id, inode.survive(&mut rng));
        }
        Self::with(state.successor(rng, names, inodes))
    }

    /// Kills the process: the disk as the next start finds it, with its page cache, without faults.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.state();
        let rng = Rng::seeded(state.rng.next_u64());
        let (names, inodes) = (state.names.clone(), state.inodes.clone());
        Self::with(state.successor(rng, names, inodes))
    }

    /// Flips one bit of a file, on the platter and in the cache.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        let mut state = self.state();
        let id = state.names.file(path).expect("a file to damage");
        let byte = usize::try_from(byte).expect("a file in memory");
        state.inodes.get_mut(&id).expect("every name leads to an inode").flip(byte, bit);
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let id = if mode == OpenMode::CreateNew {
            state.change_names(|state| {
                let id = InodeId(state.inodes_made);
                state.names.create(path, id)?;
                state.inodes_made += 1;
                state.inodes.insert(id, Inode::default());
                Ok(id)
            })?
        } else {
            if state.is_dead {
                return Err(power_is_cut());
            }
            state.names.file(path)?
        };
        Ok(Box::new(FaultyFile::new(Arc::clone(&self.state), id, mode)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().change_names(|state| state.names.create_dir_all(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.state().change_names(|state| state.names.create_dir(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        if state.is_dead {
            return Err(power_is_cut());
        }
        let listed = state.names.list(path)?;
        Ok(listed
            .into_iter()
            .map(|(name, node)| match node {
                Node::Dir => DirEntry { name, is_dir: true, bytes: 0 },
                Node::File(id) => {
                    let bytes = state.inodes.get(&id).map_or(0, Inode::len);
                    DirEntry { name, is_dir: false, bytes: to_u64(bytes) }
                }
            })
            .collect())
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.state().change_names(|state| state.names.rename(source, target))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state().change_names(|state| state.names.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().change_names(|state| state.names.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.begin(Operation::Name)? {
            Verdict::Proceed => state.names.sync(path),
            Verdict::Fail => Err(input_output_error()),
            Verdict::Die => Err(power_is_cut()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().names.contains(path)
    }

    fn free_space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state();
        let total = state.faults.capacity_bytes.unwrap_or(1 << 40);
        Ok(Space { free: total.saturating_sub(state.used_bytes()), total })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        if !self.state().names.contains(path) {
            self.open(path, OpenMode::CreateNew)?;
        }
        if !self.state().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock { state: Arc::clone(&self.state), path: path.to_owned() }))
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FaultyDisk")
            .field("faults", &state.faults)
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}

struct FaultyLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl LockGuard for FaultyLock {}

impl fmt::Debug for FaultyLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyLock").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.locked.remove(&self.path);
    }
}

#[cfg(test)]
mod tests;
