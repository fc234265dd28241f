//! Nodes, shards, topics and where everything lives: one Raft group of its own, shard 0.
//!
//! - What it is: every node holds the [`Image`], an immutable, versioned view that readers take
//!   without locks. Changes are [`Command`]s of the metadata group; a [`Metadata`] handle proposes
//!   them from any node. The group's leader is the *controller*: it has shards created and brings
//!   leaders home. Around that: the identity of a data directory ([`Identity`]), whom to admit as
//!   a peer ([`Admission`]), and how fresh nodes become a cluster ([`bootstrap`]).
//! - Must not know: what a shard does with a partition, and any protocol.
//! - Tasks: per node the controller, which acts only while its node leads shard 0.
//! - Invariants: [`state_machine`] and [`placement`] are pure; an image is never changed, only
//!   replaced; a data directory belongs to one node of one cluster for ever.
//! - Start reading at [`state_machine`].

mod addresses;
mod admission;
pub mod balance;
pub mod bootstrap;
mod calls;
mod command;
mod controller;
mod error;
mod handle;
pub mod identity;
mod image;
pub mod level;
mod metrics;
mod pairs;
pub mod placement;
pub mod policy;
pub mod rebuild;
mod refusal;
mod replica;
#[cfg(feature = "sim")]
pub mod sim;
mod sorted_map;
pub mod state_machine;
pub mod topic_config;

pub use addresses::Addresses;
pub use admission::Admission;
pub use bootstrap::{Bootstrap, BootstrapError};
pub use command::{
    Command, NewTopic, NodeRebuild, NodeRegistration, Outcome, parse_keys, parse_settings,
};
pub use error::MetadataError;
pub use handle::{Metadata, PolicyChange};
pub use identity::{Founder, Identity, IdentityError};
pub use image::{
    Image, NodeRecord, NodeState, PartitionMove, PlannedMoves, Rebuilt, ReplicaMove, ShardRecord,
    TopicRecord,
};
pub use metrics::describe as describe_metrics;
pub use policy::{Origin, Policies, Policy, TopicPattern};
pub use refusal::Refusal;
pub use replica::{Images, MetadataStateMachine, ReplicaOpenError};
pub use sorted_map::SortedMap;
pub use topic_config::{ConfigKey, InvalidConfig, Setting, TopicConfig};
