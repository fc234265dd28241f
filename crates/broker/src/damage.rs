//! Damage to stored batches: who finds it tells it here, and it is mended with the copy of a peer.
//!
//! Found by readers, and by a slow walk over everything ([`scrub`]). Nothing damaged is ever served;
//! while a peer's copy is on its way, readers are told to come back.

mod lend;
mod mend;
mod replace;
mod scrub;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_metadata::Image;
use quipu_partition::{PartitionHandle, ReadError};
use quipu_runtime::{OnExit, TaskGroup};
use quipu_types::{Offset, PartitionId};
use tokio::sync::Notify;

use crate::Broker;
use crate::fetch::{FetchError, FetchedPartition};
use crate::freshness::Known;

pub(crate) use self::lend::Loans;

/// Damaged places that wait to be mended: more are found again.
const PLACES_MAX: usize = 10_000;

/// What is damaged on this node, by partition and place.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    places: Mutex<BTreeMap<(PartitionId, Offset), Option<String>>>,
    /// Partitions that compaction leaves alone: what they hold is being replaced.
    replaced: Mutex<BTreeSet<PartitionId>>,
    found: Notify,
}

impl Damages {
    fn places(&self) -> MutexGuard<'_, BTreeMap<(PartitionId, Offset), Option<String>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stored batches at `at` are damaged.
    pub(crate) fn note(&self, partition: PartitionId, at: Offset) {
        let mut places = self.places();
        // What is known already is tried again in its time, however often it is met.
        if places.len() < PLACES_MAX && !places.contains_key(&(partition, at)) {
            places.insert((partition, at), None);
            self.found.notify_one();
        }
    }

    /// What was read from `from` on could not be: where it is damaged, it is mended.
    pub(crate) fn note_unreadable(&self, partition: PartitionId, from: Offset, error: &ReadError) {
        if let ReadError::Corrupt(_) = error {
            self.note(partition, from);
        }
    }

    /// Every place, in order.
    fn all(&self) -> Vec<(PartitionId, Offset)> {
        self.places().keys().copied().collect()
    }

    /// Nothing is known against what lies in the range any more.
    fn forget(&self, partition: PartitionId, (from, until): (Offset, Offset)) {
        self.places().retain(|(of, at), _| *of != partition || *at < from || *at >= until);
    }

    /// Why the place could not be mended yet.
    fn keep(&self, place: (PartitionId, Offset), why: String) {
        if let Some(reason) = self.places().get_mut(&place) {
            *reason = Some(why);
        }
    }

    fn replaced(&self) -> MutexGuard<'_, BTreeSet<PartitionId>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a partition holds is being replaced.
    pub(crate) fn is_replacing(&self, partition: PartitionId) -> bool {
        self.replaced().contains(&partition)
    }

    /// What could not be mended so far, one sentence each.
    pub(crate) fn unmended(&self) -> Vec<String> {
        let places = self.places();
        let unmended = places.iter().filter_map(|((partition, at), why)| {
            let why = why.as_ref()?;
            Some(format!("partition {partition} is damaged at offset {at} on this node: {why}"))
        });
        unmended.collect()
    }
}

/// Starts looking for damage, and mending it. An interval of zero: only readers find any.
pub(crate) fn start(broker: &Broker, tasks: &TaskGroup, interval: Duration) {
    tasks.spawn("mend", OnExit::StopNode, mend::run(broker.clone()));
    if !interval.is_zero() {
        tasks.spawn("scrub", OnExit::StopNode, scrub::run(broker.clone(), interval));
    }
}

/// Compaction leaves a partition alone as long as this lives.
struct Alone<'a> {
    damages: &'a Damages,
    partition: PartitionId,
}

impl<'a> Alone<'a> {
    fn with(damages: &'a Damages, partition: PartitionId) -> Self {
        damages.replaced().insert(partition);
        Self { damages, partition }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.damages.replaced().remove(&self.partition);
    }
}

impl Broker {
    /// The replica of a partition on this node; also of one that is about to move: it is read once
    /// more, from here.
    fn own_partition(&self, partition: PartitionId) -> Option<PartitionHandle> {
        let shard = self.image().shard_of(partition)?;
        Some(self.inner.shards.get(shard)?.hosted_partition(partition)?.handle)
    }

    /// Takes note of what a fetch found damaged, and tells its caller whether to come back.
    pub(crate) fn note_damage(&self, known: &Known, fetched: &mut [FetchedPartition]) {
        for partition in fetched {
            let Err(FetchError::Corrupt { asked, is_mending, .. }) = &mut partition.result else {
                continue;
            };
            let id = PartitionId::new(partition.topic, partition.partition);
            self.inner.damages.note(id, *asked);
            *is_mending = self.can_mend(&known.image, id, *asked);
        }
    }

    /// Whether a damaged place can be mended without anybody's help: it does not grow any more, and
    /// another node has a replica.
    fn can_mend(&self, image: &Image, partition: PartitionId, at: Offset) -> bool {
        let Some(shard) = image.shard_of(partition) else { return false };
        let open = self.inner.shards.get(shard).and_then(|shard| shard.partition(partition));
        let is_sealed =
            open.and_then(|handle| handle.extent_of(at)).is_some_and(|extent| extent.is_sealed);
        is_sealed && Self::replica_nodes(image, shard).len() > 1
    }
}
