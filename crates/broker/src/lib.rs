//! Operations without a protocol: produce, fetch, topics, what the cluster looks like.
//!
//! The broker finds the shard of a partition in the metadata image, checks what depends on the
//! topic, hands the operation to the shard, and says in one error type per operation what went
//! wrong. It also opens the shards this node hosts and keeps their partitions as the image says.
//!
//! - Must not know: sockets, gRPC, Kafka's bytes. It gets values and gives values.
//! - Tasks: `host` (opens and closes shards), and per open shard, while this node leads it,
//!   `reconcile` (its partitions), `replicas` (its members) and `retention` (old records).
//! - Architecture invariants: batches of one request reach their shards in call order; only a
//!   leader that applied the first entry of its term serves; a partition is closed only after the
//!   metadata group itself confirmed that its topic is gone.
//! - Start reading at [`Broker`], then [`produce`], then [`fetch`].

pub mod arrivals;
mod broker;
mod calls;
mod catching_up;
pub mod checksum;
pub mod cluster;
mod compaction;
pub mod coordinator;
mod damage;
pub mod delete_records;
pub mod describe_replica;
pub mod error;
pub mod fetch;
mod freshness;
pub mod health;
mod host;
pub mod init_producer;
pub mod levels;
pub mod list_offsets;
mod long_poll;
pub mod metrics;
pub mod nodes;
mod oldest;
pub mod policies;
pub mod produce;
mod reconcile;
mod replicas;
mod retention;
mod route;
#[cfg(feature = "sim")]
pub mod sim;
pub mod topics;
pub mod transfer;

pub use broker::{Broker, BrokerEnv, OpenShard};
pub use error::{OperationError, RouteError};
pub use metrics::describe as describe_metrics;
pub use quipu_consensus::Full;
