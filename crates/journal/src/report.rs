//! What a start found, and what a running journal has done.

use quipu_types::{EntryId, ShardId};

use crate::JournalPosition;

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Files that hold live entries, without the fresh one.
    pub files: usize,
    /// Live entries of all groups.
    pub entries: u64,
    /// Bytes of frames read.
    pub bytes: u64,
    /// Groups found.
    pub groups: usize,
    /// Where an unfinished write was cut off, if the last run ended in one.
    pub torn: Option<JournalPosition>,
    /// Groups whose newest entries may have been damaged after they were acknowledged, rather than
    /// torn before: such a group should neither vote nor campaign until it has caught up with a
    /// leader (RELIABILITY §5.2).
    pub ambiguous: Vec<Ambiguous>,
}

/// A frame that was cut off although it may once have been whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// The group.
    pub shard: ShardId,
    /// The entry, when the frame is one.
    pub entry: Option<EntryId>,
    /// Where it lies.
    pub position: JournalPosition,
    /// Why it was cut off.
    pub reason: Ambiguity,
}

/// Why a frame that looks written was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// Its header is whole and its body is not.
    BadBody,
    /// It is whole, but a frame of the same write before it is not.
    AfterBadFrame,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// `fdatasync` calls for frames.
    pub flushes: u64,
    /// Bytes of frames written.
    pub bytes_written: u64,
    /// Entries written.
    pub entries: u64,
    /// Files with live entries, and the one being written.
    pub files: usize,
}
