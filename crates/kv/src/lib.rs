//! The only door to RocksDB: the tables of a node.
//!
//! What is a table and not a log lies here: checkpoints of shards and partitions, metadata. The
//! store's own write-ahead log is off. Tables are derived from the journal up to a checkpoint, so
//! a write counts only after [`Store::flush`]; the journal is purged no earlier.
//!
//! - Must not know: what the values mean. Keys are known: [`Key`] is the list of everything that
//!   is ever stored, with its lifetime.
//! - Invariants: a [`WriteBatch`] is durable as a whole or not at all, and batches become durable
//!   in the order they were written. What cannot be read is an error, never an absence.
//! - Tasks: none; one background thread of RocksDB's own. All calls block.
//! - Start reading at [`Key`].

mod engine;
mod error;
mod key;
#[cfg(feature = "sim")]
mod sim;
mod store;
mod write_batch;

pub use error::KvError;
pub use key::{InvalidKey, Key, KeyPrefix};
#[cfg(feature = "sim")]
pub use sim::{Gate, SimTables};
pub use store::Store;
pub use write_batch::WriteBatch;
