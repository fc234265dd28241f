//! The door for clients: gRPC in, operations of the broker out.
//!
//! Requests are checked here for what a protocol can get wrong (lengths, counts, enums); what
//! depends on topics and partitions is the broker's. Bytes of records are doubted here for the
//! last time.
//!
//! - Must not know: shards, Raft, files. Keeps nothing that outlives a connection.
//! - Tasks: the server; one per open stream, which ends with the stream; one that publishes health.
//! - Architecture invariants: requests of a produce stream reach the broker in the order they
//!   came; memory is taken before a request is worked on and given back when it is answered.
//! - Start reading at [`grpc`].

#![recursion_limit = "256"]

pub mod config;
pub mod grpc;
mod metrics;

pub use config::Config;
#[cfg(feature = "fuzz")]
pub use grpc::fuzz;
pub use grpc::{Connection, serve};
pub use metrics::describe as describe_metrics;
