//! One topic partition: dense offsets, idempotent producers, log start and high watermark.
//!
//! [`Partition`] is the state machine, owned by its shard; [`PartitionHandle`] is what readers hold.
//! Offsets are assigned here, when a committed batch is applied: Raft's own entries never leave
//! holes (docs/adr/2026-11-21-offsets-at-apply.md).
//!
//! - Must not know: protocols, Raft, who leads. It knows batches.
//! - Invariants: what [`Partition::apply_append`] and [`Partition::apply_trim`] answer depends on
//!   what was applied before and on nothing else: no clock, no chance, no order of a hash. Readers
//!   never wait for apply, and never see at or above the published high watermark.
//! - Order of durability: [`Partition::checkpoint`] → the owner stores it durably →
//!   [`Partition::checkpoint_is_durable`] frees what was trimmed.
//! - Start reading at [`Partition`], then `producers.rs`.

mod checkpoint;
mod error;
mod metrics;
mod partition;
mod producers;
mod reader;
pub mod retention;

pub use checkpoint::{InvalidCheckpoint, PartitionCheckpoint};
pub use error::{AppendRefused, ReadError, StorageError};
pub use metrics::describe;
pub use partition::{Appended, Partition, PartitionEnv};
pub use quipu_segment::{
    CompactionReport, CompactionRule, Config as SegmentConfig, Extent, Mend, MendError, OpenError,
    Prefix, PrefixCopy,
};
pub use reader::PartitionHandle;

#[cfg(test)]
mod test_batch;
