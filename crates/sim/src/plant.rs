//! Faults planted on purpose, to see that the simulator finds them.

use std::fmt;

use clap::ValueEnum;

/// A fault of the program or a lie of the disk, which some seed must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// Flushes of the journal's files do nothing.
    JournalFlushLies,
    /// Flushes of the journal's folder do nothing.
    JournalFolderFlushLies,
    /// A failed flush of the journal is called a success.
    JournalFlushErrorIsHidden,
    /// Flushes of segments do nothing.
    SegmentFlushLies,
    /// Flushes of the partitions' folders do nothing.
    PartitionFolderFlushLies,
    /// A write to a segment is lost without an error.
    SegmentWriteIsLost,
    /// Segments are flushed after the row that speaks of them, not before.
    CheckpointBeforeFlush,
    /// Flushes of the tables do nothing.
    TablesFlushLies,
    /// A checkpoint does not wait for the journal.
    CheckpointAheadOfJournal,
    /// A snapshot is installed before the truncation of a log that conflicts with it is durable.
    InstallAheadOfJournal,
    /// The journal is purged up to what was applied, not to what was checkpointed.
    PurgeBeforeCheckpoint,
    /// After a start the last entry of the checkpoint is applied again.
    AppliedTwice,
    /// A conflicting end of the log stays.
    TruncationIsSkipped,
    /// A vote is answered before it is durable.
    VoteIsAnsweredEarly,
    /// An append is acknowledged before it is durable.
    AppendIsAcknowledgedEarly,
    /// Flushes of segments' indexes do nothing. Harmless: indexes are derived.
    IndexFlushLies,
}

impl Plant {
    /// Those that lose or invent something.
    pub const HARMFUL: [Self; 15] = [
        Self::JournalFlushLies,
        Self::JournalFolderFlushLies,
        Self::JournalFlushErrorIsHidden,
        Self::SegmentFlushLies,
        Self::PartitionFolderFlushLies,
        Self::SegmentWriteIsLost,
        Self::CheckpointBeforeFlush,
        Self::TablesFlushLies,
        Self::CheckpointAheadOfJournal,
        Self::InstallAheadOfJournal,
        Self::PurgeBeforeCheckpoint,
        Self::AppliedTwice,
        Self::TruncationIsSkipped,
        Self::VoteIsAnsweredEarly,
        Self::AppendIsAcknowledgedEarly,
    ];
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is hidden");
        f.write_str(value.get_name())
    }
}
