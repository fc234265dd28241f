//! Tables in memory that keep RocksDB's contract and nothing more: for simulators.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::engine::RawRow;
use crate::write_batch::Change;
use crate::{KvError, WriteBatch};

/// Asked before each write and flush: an error is the disk's refusal.
pub type Gate = Arc<dyn Fn(&'static str) -> Result<(), String> + Send + Sync>;

type Rows = BTreeMap<Vec<u8>, Bytes>;

/// Tables in memory. Clones share them.
///
/// Writes are volatile until a flush; [`Self::crash`] keeps what was flushed and some first writes
/// since, each of them whole: RocksDB flushes in the background too, in order.
#[derive(Clone)]
pub struct SimTables {
    rows: Arc<Mutex<Tables>>,
    gate: Gate,
}

#[derive(Clone, Default)]
struct Tables {
    seen: Rows,
    durable: Rows,
    unflushed: Vec<WriteBatch>,
}

impl SimTables {
    /// No rows yet.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self { rows: Arc::default(), gate }
    }

    /// Writes that no flush has covered yet.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.lock().unflushed.len()
    }

    /// The process died: the tables as the next start finds them, with the first `kept` of the
    /// writes that were not flushed.
    #[must_use]
    pub fn crash(&self, kept: usize, gate: Gate) -> Self {
        let tables = self.lock();
        let mut durable = tables.durable.clone();
        tables.unflushed.iter().take(kept).for_each(|batch| apply(batch, &mut durable));
        let rows = Tables { seen: durable.clone(), durable, unflushed: Vec::new() };
        Self { rows: Arc::new(Mutex::new(rows)), gate }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.lock().seen.get(key).cloned()
    }

    pub(crate) fn first(&self) -> Option<RawRow> {
        self.lock().seen.iter().next().map(row)
    }

    pub(crate) fn range(&self, start: &[u8], end: &[u8]) -> Vec<RawRow> {
        self.lock().seen.range(start.to_vec()..end.to_vec()).map(row).collect()
    }

    pub(crate) fn write(&self, dir: &Path, batch: WriteBatch) -> Result<(), KvError> {
        self.pass(dir, "write")?;
        let mut tables = self.lock();
        apply(&batch, &mut tables.seen);
        tables.unflushed.push(batch);
        Ok(())
    }

    pub(crate) fn flush(&self, dir: &Path) -> Result<(), KvError> {
        self.pass(dir, "flush")?;
        let mut tables = self.lock();
        for batch in mem::take(&mut tables.unflushed) {
            apply(&batch, &mut tables.durable);
        }
        Ok(())
    }

    fn pass(&self, dir: &Path, operation: &'static str) -> Result<(), KvError> {
        (self.gate)(operation).map_err(|reason| KvError::Io {
            operation,
            dir: dir.to_owned(),
            reason,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTables").field("rows", &self.lock().seen.len()).finish_non_exhaustive()
    }
}

fn row((key, value): (&Vec<u8>, &Bytes)) -> RawRow {
    (key.as_slice().into(), value.clone())
}

fn apply(batch: &WriteBatch, rows: &mut Rows) {
    for change in batch.changes() {
        match change {
            Change::Put(key, value) => rows.insert(key.encode(), value.clone()),
            Change::Delete(key) => rows.remove(&key.encode()),
        };
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::ShardId;

    use super::*;
    use crate::{Key, KeyPrefix, Store};

    fn write(store: &Store, shard: u32) {
        let mut batch = WriteBatch::new();
        batch.put(&Key::ShardCheckpoint(ShardId::new(shard)), Bytes::from_static(b"row"));
        store.write(batch).expect("write");
    }

    fn shards(tables: &SimTables) -> usize {
        let store = Store::simulated(tables).expect("open");
        store.scan(KeyPrefix::ShardCheckpoints).expect("scan").len()
    }

    #[test]
    fn a_crash_keeps_what_was_flushed_and_the_first_writes_since() {
        let open: Gate = Arc::new(|_| Ok(()));
        let tables = SimTables::new(open.clone());
        let store = Store::simulated(&tables).expect("open");
        write(&store, 1);
        store.flush().expect("flush");
        write(&store, 2);
        write(&store, 3);
        assert_eq!((shards(&tables), tables.unflushed()), (3, 2));
        for kept in 0..3 {
            let survivor = tables.crash(kept, open.clone());
            assert_eq!((shards(&survivor), survivor.unflushed()), (1 + kept, 0));
        }
    }

    #[test]
    fn what_the_gate_refuses_does_not_happen() {
        let tables = SimTables::new(Arc::new(|_| Ok(())));
        let store = Store::simulated(&tables).expect("open");
        write(&store, 1);
        let shut = tables.crash(1, Arc::new(|_| Err("the power is cut".to_owned())));
        let store = Store::simulated(&shut).expect("the format row is there");
        assert!(store.flush().is_err());
        assert!(store.write(WriteBatch::new()).is_err());
        assert_eq!((shards(&shut), shut.unflushed()), (1, 0));
    }
}
