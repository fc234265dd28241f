//! An open file of a faulty disk.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::{Operation, Verdict, input_output_error, power_is_cut};
use super::inode::{Inode, InodeId};
use super::state::{State, to_u64};
use crate::{DiskFile, OpenMode};

pub(super) struct FaultyFile {
    state: Arc<Mutex<State>>,
    id: InodeId,
    mode: OpenMode,
}

impl FaultyFile {
    pub(super) fn new(state: Arc<Mutex<State>>, id: InodeId, mode: OpenMode) -> Self {
        Self { state, id, mode }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::ErrorKind::PermissionDenied.into()),
            OpenMode::ReadWrite | OpenMode::CreateNew => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.begin(Operation::Sync)? {
            Verdict::Proceed => {
                state.inode(self.id).sync();
                Ok(())
            }
            Verdict::Fail => {
                let State { rng, inodes, .. } = &mut *state;
                inodes.get_mut(&self.id).expect("inodes are kept").sync_in_vain(rng);
                Err(input_output_error())
            }
            Verdict::Die => Err(power_is_cut()),
        }
    }
}

impl State {
    fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("inodes are kept as long as the disk")
    }

    fn write(&mut self, id: InodeId, bytes: &[u8], at: usize) -> io::Result<()> {
        let verdict = self.begin(Operation::Write)?;
        let length = self.inode(id).len();
        let limit = self.growth_limit(length, at + bytes.len());
        let room = limit.saturating_sub(at).min(bytes.len());
        match verdict {
            Verdict::Fail => {
                let drawn = self.rng.below(to_u64(room) + 1);
                let part = usize::try_from(drawn).unwrap_or(room);
                self.inode(id).write(&bytes[..part], at);
                Err(input_output_error())
            }
            Verdict::Die => {
                self.inode(id).write(&bytes[..room], at);
                Err(power_is_cut())
            }
            Verdict::Proceed => {
                self.inode(id).write(&bytes[..room], at);
                if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            }
        }
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(to_u64(self.state().inode(self.id).len()))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.state();
        match state.begin(Operation::Read)? {
            Verdict::Proceed => Ok(state.inode(self.id).read(buf, position(at)?)),
            Verdict::Fail | Verdict::Die => Err(input_output_error()),
        }
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.check_writable()?;
        self.state().write(self.id, buf, position(at)?)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let whole: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write_all_at(&whole, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.state();
        match state.begin(Operation::Write)? {
            Verdict::Proceed => {
                state.inode(self.id).set_len(position(bytes)?);
                Ok(())
            }
            Verdict::Fail => Err(input_output_error()),
            Verdict::Die => {
                state.inode(self.id).set_len(position(bytes)?);
                Err(power_is_cut())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFile").field("inode", &self.id.0).finish_non_exhaustive()
    }
}

/// Positions in memory; a file of the simulator never comes near the bound.
fn position(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
