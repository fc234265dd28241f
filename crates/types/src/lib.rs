//! The nouns every crate shares: ids, offsets, the record batch, limits, errors' two questions.
//!
//! - Must not know: files, sockets, tasks, clocks. Nothing here can wait, and nothing but parsing
//!   can fail.
//! - Invariants: a [`record::ValidatedBatch`] exists only after every check of the batch layout
//!   passed; a [`TopicName`] only after the naming rule; ranges over [`Offset`] end exclusive.
//! - Start reading at [`record`].

pub mod effect;
pub mod error_code;
mod ids;
mod level;
pub mod limits;
mod name;
mod offset;
mod raft;
pub mod record;
mod start_history;
mod units;

pub use effect::{Effect, Retry};
pub use error_code::ErrorCode;
pub use ids::{
    ClusterId, DirectoryId, Incarnation, MetadataVersion, MoveId, NodeId, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, ReplicaId, Sequence, ShardId, StartId, TopicId,
};
pub use level::{FormatLevel, LEVEL, LevelRange, MIN_LEVEL};
pub use name::{InvalidTopicName, TopicName};
pub use offset::{Acks, LeaderEpoch, Offset, Progress};
pub use raft::{EntryId, LogIndex, Term};
pub use start_history::StartHistory;
pub use units::{ByteCount, InvalidByteCount, TimestampMs};
