//! What can go wrong, per operation.

use std::time::Duration;

use quipu_segment::{Corruption, FileFailure, WriteError};
use quipu_types::{Effect, Offset, ProducerEpoch, Retry, Sequence};

/// Pause before a partition that is being replaced is asked again.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// Why a batch was not appended: the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefused {
    /// Batches before this one are missing.
    #[error("sequence {found} is out of order, expected {expected}")]
    OutOfOrderSequence {
        /// The next sequence of this producer.
        expected: Sequence,
        /// The batch's first sequence.
        found: Sequence,
    },
    /// The producer has a newer life.
    #[error("producer is fenced, its epoch is {current} now")]
    ProducerFenced {
        /// The newest epoch.
        current: ProducerEpoch,
    },
    /// Nothing is known of this producer: it never wrote here, or was forgotten after others wrote.
    #[error("producer is unknown or was forgotten")]
    UnknownProducer,
    /// The batch was appended before, too long ago to say where.
    #[error("batch was appended before, its offset is not remembered")]
    DuplicateSequence,
}

impl AppendRefused {
    /// A refusal has no effect; a forgotten duplicate had one earlier.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::OutOfOrderSequence { .. }
            | Self::ProducerFenced { .. }
            | Self::UnknownProducer => Effect::None,
            Self::DuplicateSequence => Effect::Unknown,
        }
    }

    /// The same batch is refused again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::OutOfOrderSequence { .. }
            | Self::ProducerFenced { .. }
            | Self::UnknownProducer
            | Self::DuplicateSequence => Retry::Never,
        }
    }
}

/// The partition's files cannot be written: fatal for the process, which applies again from its
/// last checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The log refused.
    #[error(transparent)]
    Log(#[from] WriteError),
    /// A snapshot contradicts what is here, or itself.
    #[error("snapshot does not fit: {reason}")]
    Snapshot {
        /// What does not fit.
        reason: String,
    },
}

impl StorageError {
    /// Part of it may have been written; the next open cuts it off.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Log(_) | Self::Snapshot { .. } => Effect::Unknown,
        }
    }

    /// Writes are not tried again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Log(_) | Self::Snapshot { .. } => Retry::Never,
        }
    }
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log start or above the high watermark.
    #[error("offset {from} is outside of {log_start} to {high_watermark}")]
    OffsetOutOfRange {
        /// What was asked for.
        from: Offset,
        /// First kept offset.
        log_start: Offset,
        /// First offset a reader may not see.
        high_watermark: Offset,
    },
    /// The bytes on this replica are damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] FileFailure),
    /// The partition was closed or replaced since the handle was taken.
    #[error("partition was closed")]
    Closed,
}

impl ReadError {
    /// Reading changes nothing.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::OffsetOutOfRange { .. } | Self::Corrupt(_) | Self::Io(_) | Self::Closed => {
                Effect::None
            }
        }
    }

    /// Only a closed partition may be back soon.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::OffsetOutOfRange { .. } | Self::Corrupt(_) | Self::Io(_) => Retry::Never,
            Self::Closed => Retry::After(RETRY_SOON),
        }
    }
}
