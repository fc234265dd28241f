//! Partitions that move to the shards this node leads: brought over from the shards that have
//! them (ADR partitions-move-through-the-log).
//!
//! Everything that is stored goes through the log of the new shard, while the old one serves. Then
//! the old one is sealed, the rest follows, and the metadata group hears that the partition has
//! arrived. Whoever leads takes the next step from what is there: nothing is remembered here.

mod bring;
mod piece;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use quipu_metadata::PartitionMove;
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::PartitionId;

use crate::{Broker, long_poll};
use bring::Unmoved;

/// Partitions on their way to one shard at once.
const AT_ONCE: usize = 2;
/// Pause after a step that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks again this often, for moves that did not come to their end.
const INTERVAL: Duration = Duration::from_secs(1);

type Bringing = FuturesUnordered<BoxFuture<'static, (PartitionId, Result<(), Unmoved>)>>;

/// Follows images and the shard's leadership until cancelled.
pub(crate) async fn run(broker: Broker, shard: Shard) {
    let mut images = broker.inner.metadata.watch();
    let mut standing = [shard.group().status()];
    let mut under_way = BTreeSet::new();
    let mut bringing = Bringing::new();
    let mut last: Option<PartitionId> = None;
    loop {
        standing[0].borrow_and_update();
        let image = Arc::clone(&images.borrow_and_update());
        if shard.is_ready_leader() {
            let free = AT_ONCE.saturating_sub(under_way.len());
            let waiting = image.arriving_at(shard.id()).filter(|(id, _)| !under_way.contains(id));
            let next: Vec<_> = in_turn(waiting, last).take(free).collect();
            for (partition, moving) in next {
                under_way.insert(partition);
                last = Some(partition);
                bringing.push(bring(broker.clone(), shard.clone(), partition, moving));
            }
        } else {
            // Another leads, and goes on from what is there.
            bringing.clear();
            under_way.clear();
        }
        let clock = broker.clock();
        let deadline = Deadline::after(clock, INTERVAL);
        let news = long_poll::wait(std::iter::once(&mut images), &mut standing, clock, deadline);
        tokio::select! {
            _ = news => {}
            Some((partition, brought)) = bringing.next(), if !bringing.is_empty() => {
                under_way.remove(&partition);
                if let Err(why) = brought {
                    tracing::info!(shard = %shard.id(), %partition, %why, "does not move yet");
                }
            }
        }
    }
}

fn bring(
    broker: Broker,
    shard: Shard,
    partition: PartitionId,
    moving: PartitionMove,
) -> BoxFuture<'static, (PartitionId, Result<(), Unmoved>)> {
    Box::pin(async move {
        let brought = bring::bring(&broker, &shard, partition, moving).await;
        if brought.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        (partition, brought)
    })
}

/// Those behind the last one first: one that cannot move does not keep the others waiting.
fn in_turn<T>(
    waiting: impl Iterator<Item = (PartitionId, T)>,
    last: Option<PartitionId>,
) -> impl Iterator<Item = (PartitionId, T)> {
    let (before, behind): (Vec<_>, Vec<_>) =
        waiting.partition(|(partition, _)| last.is_some_and(|last| *partition <= last));
    behind.into_iter().chain(before)
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn whoever_waits_has_a_turn() {
        let id = |index| PartitionId::new(TopicId::from_bytes([1; 16]), PartitionIndex::new(index));
        let turn = |last: Option<u32>| -> Vec<u32> {
            let waiting = [0, 1, 2].map(|index| (id(index), ()));
            let turn = in_turn(waiting.into_iter(), last.map(id));
            turn.map(|(partition, ())| partition.index.get()).collect()
        };
        assert_eq!(turn(None), [0, 1, 2]);
        assert_eq!(turn(Some(1)), [2, 0, 1]);
        assert_eq!(turn(Some(2)), [0, 1, 2]);
    }
}
