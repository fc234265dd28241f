//! A cluster under a seed: what several nodes promise together (RELIABILITY §4.3, layer L1).
//!
//! Some nodes with some shards each, in one process and one thread, with simulated time. Consensus
//! and openraft, the sessions between nodes, the journal, the shards' state machines, checkpoints,
//! purges and snapshots are the real ones. The network carries the peer protocol's calls in memory
//! (`net`), the disks are those of the storage simulator, and chance is the seed's (`entropy`).
//!
//! - What is checked, by `oracle` and `witness`: one leader per shard and term; all replicas apply
//!   one log and come to the model's state, byte for byte; what was acknowledged is where it was
//!   said to be; nothing is applied that nobody proposed, or that was refused; a read sees
//!   everything acknowledged before it; what is durable never goes back; nothing panics and no
//!   process ends without a fault; a healthy cluster serves again and all replicas agree.
//! - In every other run a shard is on three of four or five nodes, and its record names other nodes
//!   while everything breaks. The metadata group is there, the members change, fresh replicas are
//!   fed and former ones deleted as the broker does it. `members` and `replicas` check each step:
//!   one change at a time, nobody votes before it has caught up, no id is used twice, nobody's data
//!   goes while it is a member, nobody begins on what another left.
//! - A process that is killed goes on as a ghost for some steps: its disk is a copy, its
//!   connections are broken, and nobody hears it.
//! - Start reading at [`run_seed`], then `world.rs`, then `host.rs`.

pub(crate) mod census;
pub(crate) mod client;
pub(crate) mod durable;
pub(crate) mod entropy;
pub(crate) mod forgotten;
pub(crate) mod ground;
pub(crate) mod host;
pub(crate) mod life;
pub(crate) mod members;
pub(crate) mod mover;
pub(crate) mod nemesis;
pub(crate) mod net;
pub(crate) mod oracle;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod plant;
pub(crate) mod process;
pub(crate) mod proposals;
pub(crate) mod replicas;
pub(crate) mod run;
pub(crate) mod scene;
#[cfg(test)]
mod scripted;
pub(crate) mod snapshot;
pub(crate) mod witness;
pub(crate) mod world;

pub use census::{Census, Event};
pub use plant::Plant;
pub use run::{PASSED, Passed, run_seed, run_seeds};
