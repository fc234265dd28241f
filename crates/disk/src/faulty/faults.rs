//! What goes wrong, and when.

use std::io;

/// Faults to come. Counts are from 1 and start when the faults are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes all files together may have; a write beyond it is cut short with `StorageFull`.
    pub capacity_bytes: Option<u64>,
    /// Which write fails with `EIO`, a part of it done.
    pub write_fails_at: Option<u64>,
    /// Which flush of a file fails with `EIO`; a part of the data never arrives.
    pub sync_fails_at: Option<u64>,
    /// Which read fails with `EIO`.
    pub read_fails_at: Option<u64>,
    /// During which change (write, flush, name) the power goes: this call and all later ones fail.
    pub power_cut_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) mutations: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Sync,
    Name,
}

/// The fate of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    Fail,
    Die,
}

impl Counts {
    pub(super) fn verdict(&mut self, faults: &Faults, operation: Operation) -> Verdict {
        let is_failing = match operation {
            Operation::Read => count(&mut self.reads, faults.read_fails_at),
            Operation::Write => count(&mut self.writes, faults.write_fails_at),
            Operation::Sync => count(&mut self.syncs, faults.sync_fails_at),
            Operation::Name => false,
        };
        if operation != Operation::Read && count(&mut self.mutations, faults.power_cut_at) {
            return Verdict::Die;
        }
        if is_failing { Verdict::Fail } else { Verdict::Proceed }
    }
}

/// Counts one more and says whether it is the one.
fn count(counter: &mut u64, at: Option<u64>) -> bool {
    *counter += 1;
    at == Some(*counter)
}

pub(super) fn input_output_error() -> io::Error {
    const EIO: i32 = 5;
    io::Error::from_raw_os_error(EIO)
}

pub(super) fn power_is_cut() -> io::Error {
    io::Error::other("the power is cut")
}
