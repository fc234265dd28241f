//! The shards of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use quipu_types::ShardId;

use crate::Shard;

/// Every shard with a replica on this node. Clones are handles to the same set.
#[derive(Clone, Debug, Default)]
pub struct Shards {
    shards: Arc<RwLock<BTreeMap<ShardId, Shard>>>,
}

impl Shards {
    /// No shards yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The shard of this id, if this node has a replica of it.
    #[must_use]
    pub fn get(&self, shard: ShardId) -> Option<Shard> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// Adds a shard that was opened.
    pub fn insert(&self, shard: Shard) {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).insert(shard.id(), shard);
    }

    /// Forgets a shard; closing it is the caller's.
    pub fn remove(&self, shard: ShardId) -> Option<Shard> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).remove(&shard)
    }

    /// Every shard, in order of id.
    #[must_use]
    pub fn all(&self) -> Vec<Shard> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
