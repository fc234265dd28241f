//! Appending: from the batches of one request to appends of shards.

mod check;
mod error;
mod future;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quipu_metadata::TopicRecord;
use quipu_runtime::Deadline;
use quipu_shard::{AppendError, AppendRequest, Permit, Shard};
use quipu_types::record::ValidatedBatch;
use quipu_types::{Acks, MoveId, PartitionId, PartitionIndex, ShardId, TimestampMs, TopicId};

use crate::Broker;
use crate::error::RouteError;
use crate::freshness::Known;
use crate::route::Route;

pub use error::ProduceError;
pub use future::{ProduceFuture, Produced};

/// The wait when a request names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Batches to append, in this order.
#[derive(Clone, Debug)]
pub struct ProduceCommand {
    /// When the caller wants to hear of each batch.
    pub acks: Acks,
    /// Bounds the wait, not the append.
    pub deadline: Deadline,
    /// When the request came, by the broker's monotonic clock.
    pub begun: Duration,
    /// What to append where.
    pub entries: Vec<ProduceEntry>,
}

/// One batch and its partition.
#[derive(Clone, Debug)]
pub struct ProduceEntry {
    /// The topic.
    pub topic: TopicId,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// The batch, checked.
    pub batch: ValidatedBatch,
}

/// A command whose bytes have room in the queues of their shards.
pub struct Admitted {
    command: ProduceCommand,
    known: Known,
    room: BTreeMap<ShardId, Permit>,
}

/// What all batches of a command have in common.
#[derive(Clone, Copy)]
struct Terms {
    acks: Acks,
    deadline: Deadline,
    begun: Duration,
}

/// A batch that passed every check made before its shard is asked.
struct Checked {
    topic: Arc<TopicRecord>,
    partition: PartitionId,
    shard: ShardId,
    arrived_by: Option<MoveId>,
    batch: ValidatedBatch,
}

impl Broker {
    /// Waits until the queues of all shards concerned have room: this is where pressure reaches
    /// the socket.
    ///
    /// Room is taken in order of shard, in one piece each, so that two requests never wait for
    /// each other. Dropping the future takes no room and appends nothing.
    ///
    /// # Errors
    /// `Overloaded`: the command's deadline passed first; nothing was appended.
    pub async fn admit(&self, command: ProduceCommand) -> Result<Admitted, ProduceError> {
        let deadline = command.deadline;
        let entries = command.entries.iter();
        let partitions = entries.map(|entry| PartitionId::new(entry.topic, entry.partition));
        let known = self.image_placing(partitions, deadline).await;
        let mut bytes: BTreeMap<ShardId, usize> = BTreeMap::new();
        for entry in &command.entries {
            if let Ok(route) = known.route(entry.topic, entry.partition) {
                *bytes.entry(route.shard).or_default() += entry.batch.bytes().len();
            }
        }
        let mut room = BTreeMap::new();
        for (id, bytes) in bytes {
            if let Some(shard) = self.inner.shards.get(id) {
                let permit = deadline.timeout(&self.inner.clock, shard.admit(bytes)).await;
                room.insert(id, permit.map_err(|_| ProduceError::Append(AppendError::Overloaded))?);
            }
        }
        Ok(Admitted { command, known, room })
    }

    /// Appends the batches; all of them are in their queues, in order, when this returns. One
    /// future per batch, in the same order.
    ///
    /// Dropping a future does not cancel its append.
    ///
    /// # Errors
    /// Through the futures: [`ProduceError`].
    #[must_use = "the futures carry the acknowledgements"]
    pub fn produce(&self, admitted: Admitted) -> Vec<ProduceFuture> {
        let Admitted { command, known, mut room } = admitted;
        let ProduceCommand { acks, deadline, begun, entries } = command;
        let terms = Terms { acks, deadline, begun };
        let checked: Vec<Result<Checked, ProduceError>> =
            entries.into_iter().map(|entry| self.check(&known, entry, acks)).collect();
        // The last batch of a shard carries the room of all: it is answered about last.
        let last: BTreeMap<ShardId, usize> = checked
            .iter()
            .enumerate()
            .filter_map(|(at, checked)| checked.as_ref().ok().map(|checked| (checked.shard, at)))
            .collect();
        let append = |(at, checked): (usize, Result<Checked, ProduceError>)| match checked {
            Ok(checked) => {
                let is_last = last.get(&checked.shard) == Some(&at);
                let permit = if is_last { room.remove(&checked.shard) } else { None };
                self.append(checked, terms, permit)
            }
            Err(error) => ProduceFuture::refused(error),
        };
        checked.into_iter().enumerate().map(append).collect()
    }

    fn check(
        &self,
        known: &Known,
        entry: ProduceEntry,
        acks: Acks,
    ) -> Result<Checked, ProduceError> {
        let route = known.route(entry.topic, entry.partition)?;
        if let Err(full) = self.inner.consensus.disk().admit(entry.batch.bytes().len()) {
            // Who asks the wrong node goes to the right one, which may have room.
            self.led_shard(route.shard)?;
            return Err(ProduceError::StorageFull(full));
        }
        let now = TimestampMs::new(self.inner.clock.wall_ms());
        let batch = check::batch(entry.batch, &route.topic.config, acks, now)?;
        let Route { topic, partition, shard, arrived_by } = route;
        Ok(Checked { topic, partition, shard, arrived_by, batch })
    }

    /// How many replicas must have a batch. While a topic gets more of them, its partitions are on
    /// shards with fewer: as many may be away there as before.
    fn min_insync(&self, topic: &TopicRecord, shard: &Shard) -> u8 {
        let image = self.image();
        let has = image.shards.get(&shard.id()).map_or(topic.replication, |record| record.class);
        let missing = topic.replication.saturating_sub(has);
        topic.config.min_insync.saturating_sub(missing).max(1)
    }

    fn append(
        &self,
        checked: Checked,
        Terms { acks, deadline, begun }: Terms,
        permit: Option<Permit>,
    ) -> ProduceFuture {
        let Checked { topic, partition, shard, arrived_by, batch } = checked;
        let Some(shard) = self.inner.shards.get(shard) else {
            let leader = self.leader_elsewhere(shard);
            return ProduceFuture::refused(RouteError::NotLeader { leader }.into());
        };
        if shard.tenure(partition).is_some_and(|tenure| tenure.arrived_by != arrived_by) {
            return ProduceFuture::refused(RouteError::NotReady.into());
        }
        let counted = self.inner.metrics.topic(&topic).appending(&batch);
        let min_insync = self.min_insync(&topic, &shard);
        // What a leader alone has of a partition that is about to be sealed may not stay.
        let is_moving = topic.moves.contains_key(&partition.index);
        let (acks, min_insync) =
            if is_moving && acks == Acks::Leader { (Acks::Quorum, 1) } else { (acks, min_insync) };
        let request = AppendRequest { partition, batch, acks, min_insync, deadline, begun };
        ProduceFuture::waiting(shard.append_admitted(request, permit), counted)
    }
}
