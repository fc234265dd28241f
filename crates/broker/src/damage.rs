//! Damage to stored batches: who finds it tells it here, and it is mended with the copy of a peer.
//!
//! Found by readers, and by a slow walk over everything ([`scrub`]). Nothing damaged is ever served;
//! while a peer's copy is on its way, readers are told to come back.

mod mend;
mod scrub;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_metadata::Image;
use quipu_partition::ReadError;
use quipu_runtime::{OnExit, TaskGroup};
use quipu_types::{Offset, PartitionId};
use tokio::sync::Notify;

use crate::Broker;
use crate::fetch::{FetchError, FetchedPartition};
use crate::freshness::Known;

/// Damaged places that wait to be mended: more are found again.
const PLACES_MAX: usize = 10_000;

/// What is damaged on this node, by partition and place.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    places: Mutex<BTreeMap<(PartitionId, Offset), Option<String>>>,
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

impl Broker {
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
    /// another node has the same bytes.
    fn can_mend(&self, image: &Image, partition: PartitionId, at: Offset) -> bool {
        let Some(shard) = image.shard_of(partition) else { return false };
        let is_compacted =
            image.topic_by_id(&partition.topic).is_none_or(|topic| topic.was_compacted);
        let open = self.inner.shards.get(shard).and_then(|shard| shard.partition(partition));
        let is_sealed =
            open.and_then(|handle| handle.extent_of(at)).is_some_and(|extent| extent.is_sealed);
        !is_compacted && is_sealed && Self::replica_nodes(image, shard).len() > 1
    }
}
