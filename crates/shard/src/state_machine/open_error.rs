//! A shard whose state cannot be read.

use quipu_kv::KvError;
use quipu_types::PartitionId;

use crate::row::InvalidRow;

/// Why a shard's state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateMachineOpenError {
    /// The tables cannot be read.
    #[error("read checkpoint: {0}")]
    Kv(#[from] KvError),
    /// A row is damaged.
    #[error("read checkpoint: {0}")]
    Row(#[from] InvalidRow),
    /// A consumer group's row is damaged.
    #[error("read consumer groups: {0}")]
    Groups(#[from] quipu_coordinator::InvalidRow),
    /// A partition cannot be opened.
    #[error("open partition {partition}: {reason}")]
    Partition {
        /// Which.
        partition: PartitionId,
        /// What failed.
        reason: String,
    },
    /// The snapshot directory cannot be cleared.
    #[error("clear staged snapshots: {0}")]
    Stage(#[from] std::io::Error),
}
