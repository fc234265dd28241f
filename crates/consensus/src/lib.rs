//! The only door to openraft: groups that agree on a log, and the connections between nodes.
//!
//! - What it is: [`Consensus`], one per node, keeps one connection to each other node and hosts
//!   [`Group`]s, one per shard. A group takes commands ([`Group::propose`]), has a quorum of
//!   replicas flush them to their journals, and applies them to a [`StateMachine`] in one order.
//! - Must not know: topics, partitions, batches. Commands, replies and manifests are bytes.
//! - Tasks: per peer a dialer and, per incoming stream, a reader; per group a supervisor beside
//!   openraft's own; one for beats and one for elections after a node's death.
//! - Invariants: a vote is durable before it is given; an entry counts once it is flushed; a
//!   restarted leader never resumes its term; a checkpoint never claims more than the journal
//!   holds; a core that dies ends the process.
//! - Start reading at [`Group`], then `log_store`, `machine`, `network`.

mod call;
mod carrier;
mod config;
mod consensus;
mod dial;
mod disk_space;
mod entry;
mod error;
mod failover;
mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod group;
mod identity;
mod link;
mod log_store;
mod machine;
mod membership;
mod metrics;
mod network;
mod pace;
mod peer_service;
mod peers;
#[cfg(feature = "sim")]
mod sim;
mod snapshot;
mod state_machine;
mod status;
mod transport;
mod type_config;
mod vote;
mod wire;

pub use call::CallHandler;
pub use carrier::{Answering, Carrier, Connector};
pub use config::Config;
pub use consensus::Consensus;
pub use disk_space::{DiskRoom, DiskSpace, Full};
pub use error::{
    CallError, ChangeMembersError, CheckpointError, InitializeError, OpenGroupError, ProposeError,
    ReadIndexError, TransferError,
};
pub use group::{COMMAND_BYTES_MAX, Group, Proposed};
pub use identity::{AddressBook, Hello, HelloPolicy, MembersOnly, PeerIdentity, Rejection};
pub use metrics::describe as describe_metrics;
pub use peer_service::PeerService;
pub use peers::PeerStatus;
pub use state_machine::{
    AppliedState, Payload, PrepareJob, Reply, SnapshotCursor, SnapshotReceiver, SnapshotSource,
    StateMachine, StateMachineError,
};
pub use status::{GroupStatus, LeaderHint, Leadership, Member, MembersChange, Positions, Role};
pub use transport::{incoming as peer_incoming, server as peer_server};
pub use type_config::FlushHook;

#[cfg(test)]
extern crate self as quipu_consensus;
#[cfg(test)]
#[path = "../tests/cluster/ledger.rs"]
mod ledger;
