//! quipu-journal
#![allow(missing_docs, unused, clippy::unimplemented)]
mod config; mod error; mod position; mod report;
pub use config::{Config, FlushPolicy};
pub use error::{Damage, FlushFailed, OpenError, ReadError};
pub use position::{JournalFileId, JournalPosition};
pub use report::{Ambiguity, Ambiguous, JournalStats, RecoveryReport};
use std::sync::Arc; use std::path::{Path,PathBuf}; use bytes::Bytes; use quipu_types::*; use quipu_disk::Disk;
#[derive(Debug)] pub struct Journal;
#[derive(Clone, Debug, PartialEq, Eq)] pub struct JournalEntry { pub id: EntryId, pub payload: Bytes }
pub type FlushCallback = Box<dyn FnOnce(Result<(), FlushFailed>) + Send>;
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState { pub vote: Option<Bytes>, pub committed: Option<Bytes>, pub purged: Option<EntryId>, pub last: Option<EntryId>, pub first: Option<LogIndex> }
#[derive(Clone, Debug)] pub struct GroupJournal;
impl Journal {
  pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, config: Config, on_fatal: OnFatal) -> Result<(Journal, RecoveryReport), OpenError> { unimplemented!() }
  pub fn group(&self, shard: ShardId) -> GroupJournal { unimplemented!() }
  pub fn groups(&self) -> Vec<ShardId> { unimplemented!() }
  pub fn stats(&self) -> JournalStats { unimplemented!() }
  pub fn close(self) -> Result<(), FlushFailed> { unimplemented!() }
}
impl GroupJournal {
  pub fn state(&self) -> GroupState { unimplemented!() }
  pub fn append(&self, entries: Vec<JournalEntry>, on_flushed: FlushCallback) { unimplemented!() }
  pub fn save_vote(&self, vote: Bytes, on_flushed: FlushCallback) { unimplemented!() }
  pub fn save_committed(&self, committed: Bytes) { unimplemented!() }
  pub fn truncate_after(&self, last_kept: Option<LogIndex>) { unimplemented!() }
  pub fn purge(&self, upto: EntryId) { unimplemented!() }
  pub fn barrier(&self, on_flushed: FlushCallback) { unimplemented!() }
  pub fn read(&self, start: LogIndex, end: LogIndex, bytes_max: usize) -> Result<Vec<JournalEntry>, ReadError> { unimplemented!() }
  pub fn entry_id(&self, index: LogIndex) -> Option<EntryId> { unimplemented!() }
  pub fn term_starts(&self) -> Vec<EntryId> { unimplemented!() }
  pub fn durable_index(&self) -> Option<LogIndex> { unimplemented!() }
  pub fn remove(&self) { unimplemented!() }
}
