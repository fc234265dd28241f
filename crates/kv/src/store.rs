//! The tables of a node.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, DB, Direction, FlushOptions, IteratorMode, LogLevel, Options,
    ReadOptions, WriteOptions,
};

use crate::write_batch::Change;
use crate::{Key, KeyPrefix, KvError, WriteBatch};

/// The layout of keys and values this release writes. Persisted; grows with each change.
const FORMAT: u32 = 1;
/// A checkpoint of a shard with a few thousand partitions fits; two of them exist at most.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Rows are read at start only.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Level files open at once: there are few.
const OPEN_FILES_MAX: i32 = 64;

/// A key and a value as RocksDB hands them out.
type RawRow = (Box<[u8]>, Box<[u8]>);

/// The tables of a node. Clones share them; closed with the last one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: DB,
    dir: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the tables in `dir`, made if missing.
    ///
    /// # Errors
    /// `InUse` when they are open elsewhere; `NewerFormat` and `Corruption` when they cannot be
    /// trusted.
    pub fn open(dir: &Path) -> Result<Self, KvError> {
        let db = DB::open(&options(), dir).map_err(|error| KvError::new("open", dir, &error))?;
        let store = Self { inner: Arc::new(Inner { db, dir: dir.to_owned() }) };
        store.check_format()?;
        Ok(store)
    }

    /// Reads the format row; writes it into tables that are new.
    fn check_format(&self) -> Result<(), KvError> {
        let dir = &self.inner.dir;
        let Some(row) = self.get(&Key::Version)? else {
            if let Some((key, _)) = self.first_row()? {
                let reason = format!("there is a row {key:?}, but none that tells the format");
                return Err(KvError::Corruption { dir: dir.clone(), reason });
            }
            let mut batch = WriteBatch::new();
            batch.put(&Key::Version, Bytes::copy_from_slice(&FORMAT.to_be_bytes()));
            self.write(batch)?;
            return self.flush();
        };
        let found = <[u8; 4]>::try_from(row.as_ref()).map(u32::from_be_bytes);
        match found {
            Ok(FORMAT) => Ok(()),
            Ok(found) if found > FORMAT => {
                Err(KvError::NewerFormat { dir: dir.clone(), found, known: FORMAT })
            }
            Ok(_) | Err(_) => Err(KvError::Corruption {
                dir: dir.clone(),
                reason: format!("the format row has bytes {:02x?}", row.as_ref()),
            }),
        }
    }

    fn first_row(&self) -> Result<Option<(Key, Bytes)>, KvError> {
        self.inner.db.iterator(IteratorMode::Start).next().map(|row| self.row(row)).transpose()
    }

    /// One row.
    ///
    /// # Errors
    /// When it cannot be read; absence is `None`.
    pub fn get(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        let row = self.inner.db.get(key.encode()).map_err(|error| self.error("read", &error))?;
        Ok(row.map(Bytes::from))
    }

    /// All rows of a kind, in the order of their keys.
    ///
    /// # Errors
    /// When any of them cannot be read.
    pub fn scan(&self, prefix: KeyPrefix) -> Result<Vec<(Key, Bytes)>, KvError> {
        let start = prefix.encode();
        let mut reading = ReadOptions::default();
        reading.set_iterate_upper_bound(end_of(&start));
        let mode = IteratorMode::From(&start, Direction::Forward);
        self.inner.db.iterator_opt(mode, reading).map(|row| self.row(row)).collect()
    }

    fn row(&self, row: Result<RawRow, rocksdb::Error>) -> Result<(Key, Bytes), KvError> {
        let (key, value) = row.map_err(|error| self.error("scan", &error))?;
        let key =
            Key::decode(&key).map_err(|invalid| KvError::unknown_key(&self.inner.dir, &invalid))?;
        Ok((key, Bytes::from(value)))
    }

    /// Makes the changes visible, all at once. Durable only after [`Self::flush`]; a crash before
    /// keeps all of them or none.
    ///
    /// # Errors
    /// When the disk refuses; nothing is visible then.
    pub fn write(&self, batch: WriteBatch) -> Result<(), KvError> {
        let mut changes = rocksdb::WriteBatch::default();
        for change in batch.changes() {
            match change {
                Change::Put(key, value) => changes.put(key.encode(), value),
                Change::Delete(key) => changes.delete(key.encode()),
            }
        }
        let mut writing = WriteOptions::default();
        writing.disable_wal(true);
        let written = self.inner.db.write_opt(changes, &writing);
        written.map_err(|error| self.error("write", &error))
    }

    /// Makes everything written before durable: table files, their manifest and their names are
    /// on the disk when it returns.
    ///
    /// # Errors
    /// When the disk refuses. Nothing may be assumed about what was not flushed before.
    pub fn flush(&self) -> Result<(), KvError> {
        let mut flushing = FlushOptions::default();
        flushing.set_wait(true);
        self.inner.db.flush_opt(&flushing).map_err(|error| self.error("flush", &error))
    }

    fn error(&self, operation: &'static str, error: &rocksdb::Error) -> KvError {
        KvError::new(operation, &self.inner.dir, error)
    }
}

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    // Damage is reported at once, not when the row is next needed.
    options.set_paranoid_checks(true);
    options.set_use_fsync(true);
    // There is one column family; the option keeps a flush whole should there ever be two.
    options.set_atomic_flush(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_background_jobs(1);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_file_opening_threads(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options
}

/// The first key behind all that begin with `prefix`: kinds are far from 255, so this exists.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests;
