//! What keeps the rows: RocksDB, or memory in simulators.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, DB, Direction, FlushOptions, IteratorMode, LogLevel, Options,
    ReadOptions, WriteOptions,
};

#[cfg(feature = "sim")]
use crate::sim::SimTables;
use crate::write_batch::Change;
use crate::{KvError, WriteBatch};

/// A checkpoint of a shard with a few thousand partitions fits; two of them exist at most.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Rows are read at start only.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Level files open at once: there are few.
const OPEN_FILES_MAX: i32 = 64;

/// A stored key and its value.
pub(crate) type RawRow = (Box<[u8]>, Bytes);

/// What keeps the rows.
pub(crate) enum Engine {
    Rocks(DB),
    #[cfg(feature = "sim")]
    Simulated(SimTables),
}

impl Engine {
    /// RocksDB in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, KvError> {
        let db = DB::open(&options(), dir).map_err(|error| KvError::new("open", dir, &error))?;
        Ok(Self::Rocks(db))
    }

    pub(crate) fn get(&self, dir: &Path, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match self {
            Self::Rocks(db) => {
                let row = db.get(key).map_err(|error| KvError::new("read", dir, &error))?;
                Ok(row.map(Bytes::from))
            }
            #[cfg(feature = "sim")]
            Self::Simulated(tables) => Ok(tables.get(key)),
        }
    }

    pub(crate) fn first(&self, dir: &Path) -> Result<Option<RawRow>, KvError> {
        match self {
            Self::Rocks(db) => rows(dir, db.iterator(IteratorMode::Start)).next().transpose(),
            #[cfg(feature = "sim")]
            Self::Simulated(tables) => Ok(tables.first()),
        }
    }

    /// The rows in `start..end`, in order.
    pub(crate) fn range(
        &self,
        dir: &Path,
        start: &[u8],
        end: Vec<u8>,
    ) -> Result<Vec<RawRow>, KvError> {
        match self {
            Self::Rocks(db) => {
                let mut reading = ReadOptions::default();
                reading.set_iterate_upper_bound(end);
                let mode = IteratorMode::From(start, Direction::Forward);
                rows(dir, db.iterator_opt(mode, reading)).collect()
            }
            #[cfg(feature = "sim")]
            Self::Simulated(tables) => Ok(tables.range(start, &end)),
        }
    }

    pub(crate) fn write(&self, dir: &Path, batch: WriteBatch) -> Result<(), KvError> {
        match self {
            Self::Rocks(db) => {
                let mut changes = rocksdb::WriteBatch::default();
                for change in batch.changes() {
                    match change {
                        Change::Put(key, value) => changes.put(key.encode(), value),
                        Change::Delete(key) => changes.delete(key.encode()),
                    }
                }
                let mut writing = WriteOptions::default();
                writing.disable_wal(true);
                let written = db.write_opt(changes, &writing);
                written.map_err(|error| KvError::new("write", dir, &error))
            }
            #[cfg(feature = "sim")]
            Self::Simulated(tables) => tables.write(dir, batch),
        }
    }

    pub(crate) fn flush(&self, dir: &Path) -> Result<(), KvError> {
        match self {
            Self::Rocks(db) => {
                let mut flushing = FlushOptions::default();
                flushing.set_wait(true);
                let flushed = db.flush_opt(&flushing);
                flushed.map_err(|error| KvError::new("flush", dir, &error))
            }
            #[cfg(feature = "sim")]
            Self::Simulated(tables) => tables.flush(dir),
        }
    }
}

/// RocksDB's rows as ours.
fn rows<'a>(
    dir: &'a Path,
    rows: impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), rocksdb::Error>> + 'a,
) -> impl Iterator<Item = Result<RawRow, KvError>> + 'a {
    rows.map(move |row| {
        let (key, value) = row.map_err(|error| KvError::new("scan", dir, &error))?;
        Ok((key, Bytes::from(value)))
    })
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
