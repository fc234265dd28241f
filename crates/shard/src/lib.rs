//! One Raft group and all it hosts: the unit of replication (ARCHITECTURE D4).
//!
//! A shard leader gathers whatever waits for any of its partitions into one *bundle* = one Raft
//! entry, and lets the next one fill while a few are on their way. Every replica takes a
//! committed bundle apart again and hands each command to its partition, so that the outcome,
//! offsets included, is the same everywhere.
//!
//! - Must not know: protocols, topics' names, sockets, openraft.
//! - Tasks: one bundler per shard; one checkpointer per node.
//! - Architecture invariants: commands of one partition are proposed in call order; an outcome
//!   depends on the entries before it and on nothing else; a partition's directory is removed only
//!   after the checkpoint that forgets it is durable; a half-received snapshot is invisible.
//! - Start reading at [`Shard::append`], then `bundler`, then `state_machine`.

mod append;
pub mod bundle;
mod bundler;
mod checkpointer;
mod control;
mod groups;
mod handle;
mod metrics;
mod queue;
mod receipt;
mod replication;
pub mod reply;
mod residence;
mod row;
mod shards;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
mod state_machine;
mod table;
mod tenure;
#[cfg(test)]
mod test_batch;

pub use append::{AppendError, AppendFuture, AppendRequest, Appended};
pub use bundle::{Bundle, Command, InvalidBundle, PartitionConfig, PartitionControl};
pub use checkpointer::{CheckpointConfig, spawn_checkpointer};
pub use control::{ControlError, ControlOutcome, control_at};
pub use groups::GroupTable;
pub use handle::{OpenError, Permit, Shard, ShardEnv};
pub use metrics::{Phase, PhaseMetric, describe as describe_metrics};
pub use receipt::Receipt;
pub use reply::{InvalidReply, Outcome};
pub use residence::{Residence, ResidenceError};
pub use shards::Shards;
pub use state_machine::ShardStateMachine;
pub use table::Hosted;
pub use tenure::{Stage, Tenure};
