//! One partition's log on disk: segment files of stored batches, and nothing else in them.
//!
//! One [`SegmentLog`] writes; any number of [`SegmentReader`]s read, and never wait for it. What
//! was appended last lies in memory until there is enough to write or a checkpoint asks for it
//! ([`SegmentLog::flush`]): the journal already holds it durably. Bytes on disk:
//! `docs/formats/segment.md`.
//!
//! - Must not know: Raft, producers, who may read up to where. It knows offsets and bytes.
//! - Invariants: sealed files never change, but compaction and mending put new ones in their place; every byte that leaves was checked against a checksum,
//!   the offset before it and the leader epoch it was stored under; damage is an error with file and
//!   byte, never skipped; indexes are derived and rebuilt; an empty log has no file and no folder.
//! - Order of durability: [`SegmentLog::flush`] → the owner makes the returned [`LogEnd`] durable →
//!   [`SegmentLog::trim`] removes what that checkpoint does not need any more.
//! - Start reading at [`SegmentLog`], then `reader.rs`.

mod active;
mod batches;
mod compaction;
mod config;
mod contents;
mod error;
mod extent;
mod file_name;
mod index;
mod index_file;
mod inspect;
mod log;
mod mend;
mod metrics;
mod open_files;
mod prefix;
mod reader;
mod recovery;
mod rewrite;
mod scan;
mod sealed;
mod time_lookup;
mod view;
mod window;

pub use compaction::{CompactionReport, CompactionRule};
pub use config::Config;
pub use error::{Corruption, FileFailure, OpenError, ReadError, WriteError};
pub use extent::Extent;
pub use inspect::{LogReport, inspect};
pub use log::{LogEnd, SegmentLog, TrimReport};
pub use mend::{Mend, MendError};
pub use metrics::describe;
pub use open_files::OpenFiles;
pub use prefix::{Prefix, PrefixCopy};
pub use reader::SegmentReader;

#[cfg(test)]
mod test_batch;
#[cfg(test)]
mod tests;
