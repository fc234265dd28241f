//! One error per operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quipu_types::{Effect, LogIndex, Retry, ShardId};

use crate::{JournalFileId, JournalPosition};

/// The journal's disk failed, or the journal was closed: what was not called back before may or
/// may not be on disk, and nothing will be written any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal takes no more writes: {reason}")]
pub struct FlushFailed {
    /// What happened first.
    pub reason: Arc<str>,
}

impl FlushFailed {
    pub(crate) fn new(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into() }
    }

    /// The entry may be on disk and come back at the next start.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::Unknown
    }

    /// Never in this process: a failed flush must not be repeated.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Stored bytes failed their check.
    #[error("entry {index} of shard {shard} at {position} is damaged: {damage}")]
    Corruption {
        /// The group.
        shard: ShardId,
        /// The entry.
        index: LogIndex,
        /// Where it lies.
        position: JournalPosition,
        /// What is wrong.
        damage: Damage,
    },
    /// The disk refused.
    #[error("read entry {index} of shard {shard} at {position}")]
    Io {
        /// The group.
        shard: ShardId,
        /// The entry.
        index: LogIndex,
        /// Where it lies.
        position: JournalPosition,
        /// The refusal.
        source: io::Error,
    },
}

impl ReadError {
    /// Reading changes nothing.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::None
    }

    /// The disk would answer the same.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// No frame starts here.
    #[error("no frame starts here")]
    NoFrame,
    /// The frame belongs to another place or an earlier life of the file.
    #[error("frame of another place")]
    Misplaced,
    /// The header's checksum does not match.
    #[error("header checksum is {found:#010x}, expected {expected:#010x}")]
    Header {
        /// As stored.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// The payload's checksum does not match.
    #[error("payload checksum is {found:#010x}, expected {expected:#010x}")]
    Payload {
        /// As stored.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// The file ends within the frame.
    #[error("file ends within the frame")]
    Short,
    /// The checksums match, the fields do not make sense.
    #[error("fields contradict each other: {0}")]
    Contradiction(&'static str),
}

/// Why a journal could not be opened. Nothing was changed on disk, unless `Io` says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Bytes that were durable once are damaged: cutting here would lose acknowledged entries.
    #[error(
        "journal file {path} is damaged at byte {}: {damage}; entries of shards {} after it, and \
         votes, may be lost here, though not on the other replicas",
        position.byte,
        listed(shards)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage starts.
        position: JournalPosition,
        /// What is wrong.
        damage: Damage,
        /// Groups that may miss entries.
        shards: Vec<ShardId>,
    },
    /// A file that holds entries is gone.
    #[error("journal file {file} is missing; it held entries of shard {shard} from {index} on")]
    Missing {
        /// The file, if it is known which.
        file: JournalFileId,
        /// A group that misses entries.
        shard: ShardId,
        /// The first that is missing.
        index: LogIndex,
    },
    /// Written by another version of this program.
    #[error("journal file {path} has format version {found}; this program reads {expected}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// Ours.
        expected: u16,
    },
    /// A setting is out of bounds.
    #[error("{0}")]
    Config(String),
    /// The disk refused.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

fn listed(shards: &[ShardId]) -> String {
    let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
    shards.join(", ")
}

impl OpenError {
    /// Whether something that was promised may be forgotten here for ever: votes, or entries that
    /// were acknowledged.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } => true,
            Self::Format { .. } | Self::Config(_) | Self::Io { .. } => false,
        }
    }

    /// Opening acknowledges nothing.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::None
    }

    /// Somebody must look first.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}
