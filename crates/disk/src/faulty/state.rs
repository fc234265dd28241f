//! Everything a faulty disk holds, and the fate of each call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use quipu_runtime::Rng;

use super::faults::{Counts, Faults, Operation, Verdict, input_output_error, power_is_cut};
use super::inode::{Inode, InodeId};
use super::names::Names;

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) is_dead: bool,
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) inodes_made: u64,
    pub(super) locked: BTreeSet<PathBuf>,
}

impl State {
    pub(super) fn successor(
        &self,
        rng: Rng,
        names: Names,
        inodes: BTreeMap<InodeId, Inode>,
    ) -> Self {
        Self {
            rng,
            faults: Faults { capacity_bytes: self.faults.capacity_bytes, ..Faults::default() },
            counts: Counts::default(),
            is_dead: false,
            names,
            inodes,
            inodes_made: self.inodes_made,
            locked: BTreeSet::new(),
        }
    }

    /// Counts a call and decides its fate.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<Verdict> {
        if self.is_dead {
            return Err(power_is_cut());
        }
        let verdict = self.counts.verdict(&self.faults, operation);
        self.is_dead = verdict == Verdict::Die;
        Ok(verdict)
    }

    /// Runs a change of names under the planned faults.
    pub(super) fn change_names<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.begin(Operation::Name)? {
            Verdict::Proceed => change(self),
            Verdict::Fail => Err(input_output_error()),
            Verdict::Die => {
                // The change may have been under way when the power went.
                let _ = change(self);
                Err(power_is_cut())
            }
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let sizes = self.names.files().filter_map(|id| self.inodes.get(&id));
        sizes.map(|inode| to_u64(inode.len())).sum()
    }

    /// How far a file may grow towards `to` bytes.
    pub(super) fn growth_limit(&self, from: usize, to: usize) -> usize {
        let Some(capacity) = self.faults.capacity_bytes else { return to };
        if to <= from {
            return to;
        }
        let free = capacity.saturating_sub(self.used_bytes());
        to.min(from.saturating_add(usize::try_from(free).unwrap_or(usize::MAX)))
    }
}

pub(super) fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("a length in memory fits in 64 bits")
}
