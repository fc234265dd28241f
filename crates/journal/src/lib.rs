//! The write-ahead log of a node, shared by all its Raft groups: one write and one flush for
//! everything that waits.
//!
//! - Knows groups and opaque entries. Must not know: partitions, Raft's rules, sockets, tasks.
//! - Threads: `journal-writer` gathers, writes, flushes and calls back in order; `journal-files`
//!   prepares the next file. Handles never wait for either, except to read from disk.
//! - Byte layout: `docs/formats/journal.md`.
//!
//! Invariants:
//! 1. What was called back `Ok` under [`FlushPolicy::Always`] is there after any crash; what was
//!    never appended is never there. Frames come back as a prefix of the order they were enqueued.
//! 2. After the first failed write or flush nothing is written, and no callback is `Ok`.
//! 3. Damage to what was durable is an error that names the place, never a shorter log.
//! 4. A file is used again only after the records that emptied it are durable, under a new number
//!    that its frames carry.
//!
//! Start reading at [`GroupJournal`], then `writer.rs`, then `recovery.rs`.

mod config;
mod dump;
mod encoder;
mod error;
mod frame;
mod group;
mod handle;
mod index;
mod journal;
mod ledger;
mod limits;
mod metrics;
mod position;
mod prepare;
mod queue;
mod recovery;
mod report;
mod shared;
mod width;
mod writer;

pub use config::{Config, FlushPolicy};
pub use dump::{DumpFrame, DumpLine, dump};
pub use error::{Damage, FlushFailed, OpenError, ReadError};
pub use handle::{FlushCallback, GroupJournal, GroupState, JournalEntry};
pub use journal::{Journal, OnFatal};
pub use metrics::describe as describe_metrics;
pub use position::{JournalFileId, JournalPosition};
pub use recovery::inspect;
pub use report::{Ambiguity, Ambiguous, JournalStats, RecoveryReport};
