//! Quipu under a seed: what breaks is drawn, and what was promised must still hold.
//!
//! - [`run_seed`], the storage of one node (RELIABILITY §4.3, layer L0): disks that lose, tear and
//!   refuse, and a model of what must be there afterwards.
//! - [`l1`], a cluster: several nodes with openraft, a network that is cut, processes that die.
//! - [`l2`], its clients: brokers on those nodes, producers, consumer groups, retention.
//!
//! A seed decides everything: sizes, commands, faults, when the process or the power dies. In all
//! layers the journal, the shards' state machines, partitions, segments, checkpoints and snapshots
//! are the real ones. RocksDB is replaced by a table in memory of the same contract
//! (`quipu_kv::SimTables`); a checkpoint of more than four changed partitions would use threads, so
//! a shard has four.
//!
//! In L0 consensus is played by `world` and `replica`: they append, truncate, apply, checkpoint,
//! install, purge and vote in openraft's order, and wait for the journal before a checkpoint and
//! before an install. It knows no sockets, tasks or clocks.
//!
//! - What L0 checks: `journal_model` (nothing acknowledged is lost, nothing is invented, votes
//!   never go back), `replica` (a start finds a checkpoint that was made, and the journal leads on
//!   from it), `model` (partitions byte for byte, producers, groups, at each applied index).
//! - Invariant: one seed gives one trace.
//! - Start reading at [`run_seed`], then `world.rs`, then `replica.rs`; for clusters at [`l1`], for
//!   clients at [`l2`].

mod batch;
mod cluster;
mod commands;
mod disk;
mod journal_model;
pub mod l1;
pub mod l2;
mod model;
mod node;
mod panics;
mod peer;
mod plan;
mod plant;
mod replica;
mod seeds;
mod stop;
mod trace;
mod world;

pub use plant::Plant;
pub use seeds::{Failure, Layer, Passed, run_seed, run_seeds};
pub use trace::Trace;
