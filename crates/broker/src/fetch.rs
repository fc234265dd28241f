//! Reading: committed batches of several partitions within byte limits, or a wait for them.

mod error;
mod memory;
mod round;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::GroupStatus;
use quipu_partition::PartitionHandle;
use quipu_runtime::{Deadline, run_blocking};
use quipu_types::{Offset, PartitionId, PartitionIndex, Progress, ShardId, TopicId, limits};
use tokio::sync::watch;

use crate::error::RouteError;
use crate::freshness::Known;
use crate::{Broker, long_poll};

pub use error::FetchError;
pub(crate) use memory::FetchMemory;
pub use memory::FetchPermit;
use round::{Readable, Reader};

/// What a fetch returns at most when it does not say.
pub const BYTES_MAX_DEFAULT: usize = 1 << 20;

/// How long a fetch may take to find out that a topic is gone.
const CONFIRM_WAIT: Duration = Duration::from_secs(1);

/// What to read, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct FetchCommand {
    /// From where.
    pub positions: Vec<FetchPosition>,
    /// Answer before the deadline when this much is there; 0 and 1 mean any.
    pub bytes_min: usize,
    /// Bound of the whole answer; at least one batch comes even if it is larger.
    pub bytes_max: usize,
    /// When to answer with what is there.
    pub deadline: Deadline,
    /// Which position has the first say over the bytes: callers rotate it, so that a partition
    /// with much to read does not starve those behind it.
    pub first: usize,
}

/// Where to read a partition on.
#[derive(Clone, Copy, Debug)]
pub struct FetchPosition {
    /// The topic.
    pub topic: TopicId,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// The first offset wanted.
    pub offset: Offset,
    /// Bound for this partition.
    pub bytes_max: usize,
}

/// Batches read. Holds its share of memory until dropped: drop it when it is written.
#[derive(Debug)]
pub struct Fetched {
    /// Partitions with batches or an error, and those whose bounds moved meanwhile.
    pub partitions: Vec<FetchedPartition>,
    /// The memory the batches take.
    pub permit: FetchPermit,
}

/// One partition of an answer.
#[derive(Debug)]
pub struct FetchedPartition {
    /// The topic.
    pub topic: TopicId,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// What was read.
    pub result: Result<FetchedBatches, FetchError>,
}

/// Whole stored batches and the bounds they were read within.
#[derive(Clone, Debug)]
pub struct FetchedBatches {
    /// The partition's bounds when it was read last.
    pub progress: Progress,
    /// In order; the first contains the offset asked for.
    pub batches: Vec<Bytes>,
}

impl Broker {
    /// Reads batches; waits until `bytes_min` are there, an error is, leadership moves, or the
    /// deadline passes.
    ///
    /// Errors are per partition. Dropping the future reads no further.
    pub async fn fetch(&self, command: FetchCommand) -> Fetched {
        let positions = command.positions.iter();
        let partitions = positions.map(|at| PartitionId::new(at.topic, at.partition));
        // Even a fetch that does not wait should learn that its topic is gone.
        let patience = command.deadline.max(Deadline::after(self.clock(), CONFIRM_WAIT));
        let known = self.image_placing(partitions, patience).await;
        let positions: Vec<_> =
            command.positions.iter().map(|position| self.open(&known, position)).collect();
        let mut fetch = Fetch::new(&command, positions);
        let mut standings = self.standings(&fetch);
        let mut permit = FetchPermit::default();
        loop {
            fetch.survey();
            if fetch.has_work() {
                let wanted = fetch.bytes_left();
                let memory = self.inner.fetch_memory.take(wanted, permit.is_empty());
                let Ok(Some(memory)) = command.deadline.timeout(self.clock(), memory).await else {
                    break;
                };
                fetch = read(fetch).await;
                permit.grow(memory, fetch.bytes());
            }
            if fetch.is_done() {
                break;
            }
            let watches = fetch.positions.iter_mut().filter_map(Position::watch);
            let woken = long_poll::wait(watches, &mut standings, self.clock(), command.deadline);
            if woken.await == long_poll::Woken::Deadline {
                break;
            }
            self.recheck(&mut fetch, &mut standings);
        }
        let mut fetched = Fetched { partitions: fetch.finish(), permit };
        self.note_damage(&known, &mut fetched.partitions);
        self.confirm_ends(&mut fetched.partitions).await;
        self.count_fetched(&known, &fetched);
        fetched
    }

    /// Whoever is told that a partition ends before its position gives the position up: that must
    /// not be said by a leader that was replaced and has not heard of it. A log start only grows,
    /// so that an old one wrongs nobody.
    async fn confirm_ends(&self, fetched: &mut [FetchedPartition]) {
        let deadline = Deadline::after(self.clock(), CONFIRM_WAIT);
        for partition in fetched {
            let asked = match &partition.result {
                Err(FetchError::OffsetOutOfRange { asked, high_watermark, .. })
                    if asked > high_watermark =>
                {
                    *asked
                }
                _ => continue,
            };
            let id = PartitionId::new(partition.topic, partition.partition);
            partition.result = Err(match self.own_bounds(id, deadline).await {
                Ok(now) if asked > now.high_watermark() => FetchError::OffsetOutOfRange {
                    asked,
                    log_start: now.log_start(),
                    high_watermark: now.high_watermark(),
                },
                Ok(_) => RouteError::NotReady.into(),
                Err(_) => RouteError::NotLeader { leader: None }.into(),
            });
        }
    }

    fn open(&self, known: &Known, at: &FetchPosition) -> Position<PartitionHandle> {
        let opened = known.route(at.topic, at.partition).and_then(|route| {
            let shard = self.led_shard(route.shard)?;
            Ok((route.shard, route.find(&shard)?))
        });
        Position {
            topic: at.topic,
            partition: at.partition,
            state: match opened {
                Ok((shard, handle)) => Ok(Reader::new(shard, handle, at.offset, at.bytes_max)),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// What tells of a change of leadership: one watch per shard concerned.
    fn standings(&self, fetch: &Fetch<PartitionHandle>) -> Vec<watch::Receiver<GroupStatus>> {
        let mut shards: Vec<ShardId> = fetch.readers().map(|reader| reader.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        let groups = shards.into_iter().filter_map(|shard| self.inner.consensus.group(shard));
        groups
            .map(|group| {
                let mut status = group.status();
                status.borrow_and_update();
                status
            })
            .collect()
    }

    /// Ends the positions that this node may not serve any more.
    fn recheck(
        &self,
        fetch: &mut Fetch<PartitionHandle>,
        standings: &mut [watch::Receiver<GroupStatus>],
    ) {
        for standing in standings {
            standing.borrow_and_update();
        }
        for position in &mut fetch.positions {
            let Ok(reader) = &position.state else { continue };
            let id = PartitionId::new(position.topic, position.partition);
            let lost = match self.led_shard(reader.shard) {
                Ok(shard) if shard.partition(id).is_some() => continue,
                Ok(_) => RouteError::NotReady,
                Err(error) => error,
            };
            if reader.is_empty() {
                position.state = Err(lost.into());
            } else {
                fetch.is_cut_short = true;
            }
        }
    }

    fn count_fetched(&self, known: &Known, fetched: &Fetched) {
        for partition in &fetched.partitions {
            let Ok(FetchedBatches { batches, .. }) = &partition.result else { continue };
            let bytes: usize = batches.iter().map(Bytes::len).sum();
            if let Some(topic) = known.image.topic_by_id(&partition.topic).filter(|_| bytes > 0) {
                self.inner.metrics.topic(topic).fetched(bytes);
            }
        }
    }
}

/// Reads what there is, off the runtime's threads: a cold page waits for the disk.
async fn read(mut fetch: Fetch<PartitionHandle>) -> Fetch<PartitionHandle> {
    let read = run_blocking(move || {
        fetch.read();
        fetch
    });
    read.await.expect("a panic in a read is a panic here")
}

/// One partition of a fetch under way.
pub(crate) struct Position<R> {
    topic: TopicId,
    partition: PartitionIndex,
    state: Result<Reader<R>, FetchError>,
}

impl<R: Readable> Position<R> {
    fn watch(&mut self) -> Option<&mut watch::Receiver<Progress>> {
        self.state.as_mut().ok().map(|reader| &mut reader.watch)
    }
}

/// A fetch under way.
pub(crate) struct Fetch<R> {
    positions: Vec<Position<R>>,
    bytes_min: usize,
    bytes_max: usize,
    first: usize,
    is_cut_short: bool,
}

impl<R: Readable> Fetch<R> {
    fn new(command: &FetchCommand, positions: Vec<Position<R>>) -> Self {
        let bytes_max = command.bytes_max.min(limits::FETCH_RESPONSE_BYTES_MAX);
        Self {
            first: command.first.checked_rem(positions.len()).unwrap_or_default(),
            positions,
            bytes_min: command.bytes_min.clamp(1, bytes_max.max(1)),
            bytes_max,
            is_cut_short: false,
        }
    }

    fn readers(&self) -> impl Iterator<Item = &Reader<R>> {
        self.positions.iter().filter_map(|position| position.state.as_ref().ok())
    }

    fn bytes(&self) -> usize {
        self.readers().map(Reader::bytes).sum()
    }

    fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes())
    }

    /// Looks at every partition's bounds without touching its files.
    fn survey(&mut self) {
        for position in &mut self.positions {
            let surveyed = position.state.as_mut().map(Reader::survey);
            if let Ok(Err(error)) = surveyed {
                position.state = Err(error);
            }
        }
    }

    /// Whether a read would bring something.
    fn has_work(&self) -> bool {
        let has_room = self.bytes_left() > 0 || self.bytes() == 0;
        has_room && self.readers().any(Reader::has_work)
    }

    /// Reads every partition on, beginning with the first in turn. Blocks.
    fn read(&mut self) {
        let mut total = self.bytes();
        let (head, tail) = self.positions.split_at_mut(self.first);
        for position in tail.iter_mut().chain(head) {
            let Ok(reader) = &mut position.state else { continue };
            let left = self.bytes_max.saturating_sub(total);
            match reader.read(left, total == 0) {
                Ok(bytes) => total += bytes,
                Err(error) => position.state = Err(error),
            }
        }
    }

    /// Whether there is nothing left to wait for.
    fn is_done(&self) -> bool {
        let bytes = self.bytes();
        self.is_cut_short
            || bytes >= self.bytes_min
            || self.readers().any(Reader::is_full)
            || self.positions.is_empty()
            || self.positions.iter().any(|position| position.state.is_err())
    }

    fn finish(self) -> Vec<FetchedPartition> {
        let answered = self.positions.into_iter().filter_map(|position| {
            let result = match position.state {
                Ok(reader) => Ok(reader.finish()?),
                Err(error) => Err(error),
            };
            Some(FetchedPartition { topic: position.topic, partition: position.partition, result })
        });
        answered.collect()
    }
}
