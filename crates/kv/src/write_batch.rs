//! Changes that belong together.

use bytes::Bytes;

use crate::Key;

/// Changes that become visible together and durable together.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Key, Bytes),
    Delete(Key),
}

impl WriteBatch {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row, over an earlier change of the same key.
    pub fn put(&mut self, key: &Key, value: Bytes) {
        self.changes.push(Change::Put(key.clone(), value));
    }

    /// Removes a row; one that is not there is no error.
    pub fn delete(&mut self, key: &Key) {
        self.changes.push(Change::Delete(key.clone()));
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }
}
