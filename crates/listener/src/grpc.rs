//! The services of `proto/client.proto`, `proto/groups.proto` and `proto/admin.proto`.
//!
//! One file per request: check, call the broker, put the answer into its message. `error_map` is
//! the only place where errors become messages.

mod add_partitions;
mod alter_topic;
mod call;
mod connection;
mod context;
mod create_topic;
mod delete_records;
mod delete_topic;
mod describe_cluster;
mod describe_replica;
mod describe_topics;
mod error_map;
mod fetch;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod groups;
mod health;
mod init_producer;
mod join;
mod levels;
mod list_offsets;
mod memory;
mod metadata;
mod move_partitions;
mod nodes;
mod partition_checksum;
mod pipeline;
mod policies;
mod produce;
pub(crate) mod refusal;
mod server;
mod services;
mod topic_message;
mod transfer_leader;
mod validate;

pub use connection::Connection;
pub use server::{ServeError, serve};
