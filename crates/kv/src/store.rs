//! The tables of a node.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
#[cfg(feature = "sim")]
use crate::sim::SimTables;
use crate::{Key, KeyPrefix, KvError, WriteBatch};

/// The layout of keys and values this release writes. Persisted; grows with each change.
const FORMAT: u32 = 1;

/// The tables of a node. Clones share them; closed with the last one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
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
        Self::with(Engine::open(dir)?, dir)
    }

    /// Opens tables in memory: for simulators.
    ///
    /// # Errors
    /// When the tables' gate refuses the first write.
    #[cfg(feature = "sim")]
    pub fn simulated(tables: &SimTables) -> Result<Self, KvError> {
        Self::with(Engine::Simulated(tables.clone()), Path::new("simulated"))
    }

    fn with(engine: Engine, dir: &Path) -> Result<Self, KvError> {
        let store = Self { inner: Arc::new(Inner { engine, dir: dir.to_owned() }) };
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
        let first = self.inner.engine.first(&self.inner.dir)?;
        first.map(|(key, value)| self.row(&key, value)).transpose()
    }

    /// One row.
    ///
    /// # Errors
    /// When it cannot be read; absence is `None`.
    pub fn get(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        self.inner.engine.get(&self.inner.dir, &key.encode())
    }

    /// All rows of a kind, in the order of their keys.
    ///
    /// # Errors
    /// When any of them cannot be read.
    pub fn scan(&self, prefix: KeyPrefix) -> Result<Vec<(Key, Bytes)>, KvError> {
        let start = prefix.encode();
        let rows = self.inner.engine.range(&self.inner.dir, &start, end_of(&start))?;
        rows.into_iter().map(|(key, value)| self.row(&key, value)).collect()
    }

    fn row(&self, key: &[u8], value: Bytes) -> Result<(Key, Bytes), KvError> {
        let key =
            Key::decode(key).map_err(|invalid| KvError::unknown_key(&self.inner.dir, &invalid))?;
        Ok((key, value))
    }

    /// Makes the changes visible, all at once. Durable only after [`Self::flush`]; a crash before
    /// keeps all of them or none.
    ///
    /// # Errors
    /// When the disk refuses; nothing is visible then.
    pub fn write(&self, batch: WriteBatch) -> Result<(), KvError> {
        quipu_failpoint::hit("kv.write.before");
        self.inner.engine.write(&self.inner.dir, batch)?;
        quipu_failpoint::hit("kv.write.after");
        Ok(())
    }

    /// Makes everything written before durable: table files, their manifest and their names are
    /// on the disk when it returns.
    ///
    /// # Errors
    /// When the disk refuses. Nothing may be assumed about what was not flushed before.
    pub fn flush(&self) -> Result<(), KvError> {
        quipu_failpoint::hit("kv.flush.before");
        self.inner.engine.flush(&self.inner.dir)?;
        quipu_failpoint::hit("kv.flush.after");
        Ok(())
    }
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
