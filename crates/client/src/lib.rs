//! What services link to use Quipu: publish, read, replay, administer.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use quipu_client::{Client, End, NewRecord, Start};
//!
//! # async fn example() -> quipu_client::Result<()> {
//! let client = Client::builder("quipu://127.0.0.1:9192,127.0.0.1:9193")
//!     .service("sms-service")
//!     .connect()
//!     .await?;
//!
//! // On the disks of a quorum when this returns.
//! let receipt = client.publish(NewRecord::new("fees", r#"{"amount":120}"#).key("T-1")).await?;
//! assert!(receipt.offset.is_some());
//!
//! let mut replay = client.replay("fees").from(Start::Earliest).until(End::Latest).open().await?;
//! while let Some(record) = replay.try_next().await? {
//!     assert_eq!(&*record.topic, "fees");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - Must not know: anything of a server but `proto/`.
//! - Defaults are the safe ones: acknowledged by a quorum, idempotent, linger 5 ms, batches of
//!   64 KiB, events of at most 1 MiB (store larger blobs elsewhere and send a reference), reading
//!   from the earliest event. Kafka's default, the latest, loses the first events of a service.
//! - Tasks: one that renews metadata, one per producer and per reader that owns its state, two per
//!   consumer (membership, fetching), one per stream to a node. They end when their handle is
//!   dropped or closed.
//! - Invariants: records of one partition are stored in the order in which they were enqueued; a
//!   retry of an idempotent producer never stores twice; every [`Error`] says whether the
//!   operation may have happened and what to do.
//! - Start reading at [`Client`], then `producer/queue.rs`, which decides what is sent when.

mod address;
mod admin;
mod backoff;
mod call;
mod channels;
mod client;
mod clock;
mod cluster_view;
mod consumer;
mod error;
mod link;
mod metrics;
mod partitioner;
mod position;
mod producer;
mod reader;
mod record;
#[cfg(feature = "sim")]
pub mod sim;
mod tasks;
mod trace;

pub use address::{Bootstrap, InvalidBootstrap};
pub use admin::{
    Admin, ClusterDescription, ConfigEntry, FinalizedLevel, Group, GroupDescription, GroupMember,
    GroupOffset, GroupPartition, GrownTopic, NewTopic, NodeChange, NodeDescription, OffsetAt,
    OffsetFound, PartitionChecksum, PartitionDescription, Policy, ReplicaDescription, ReplicaMove,
    ShardDescription, SnapshotReceipt, StorageFull, TopicChange, TopicDescription, Traffic,
};
pub use client::{Client, ClientBuilder};
pub use consumer::{
    Assignor, Batch, Consumer, ConsumerBuilder, ConsumerEvent, ConsumerState, Message, Rebalance,
    StartAt, TopicPartition,
};
pub use error::{
    AckError, ConnectError, Corrupt, Error, NoPosition, OffsetOutOfRange, ProcessingTimeout,
    RunError, ServerError, TimeoutError, TooLarge, TransportError,
};
#[doc(hidden)]
pub use metrics::describe as describe_metrics;
pub use partitioner::partition_for_key;
pub use position::{End, InvalidPosition, Start};
pub use producer::{Delivery, Producer, ProducerBuilder, TryEnqueueError};
pub use quipu_types::record::{Codec, RecordHeader};
pub use quipu_types::{Acks, Effect, ErrorCode, NodeId, Retry, ShardId, TimestampMs, TopicId};
pub use reader::{OutOfRange, Reader, ReaderBuilder};
pub use record::{NewRecord, Receipt, Record};
pub use trace::{
    CORRELATION_ID, InvalidTraceParent, SpanContext, TRACEPARENT, TRACESTATE, TraceContext,
};

/// What calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The code that documents show is compiled, as tests.
#[cfg(doctest)]
mod shown {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/monitoring.md")]
    mod monitoring {}
    #[doc = include_str!("../../../docs/tutorial.md")]
    mod tutorial {}
}
