//! One partition, brought over.

use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::CallError;
use quipu_metadata::{MetadataError, PartitionMove};
use quipu_partition::{InvalidCheckpoint, PartitionCheckpoint};
use quipu_runtime::Deadline;
use quipu_shard::{ControlError, ControlOutcome, PartitionControl, Shard, Stage, control_at};
use quipu_types::{LeaderEpoch, NodeId, Offset, PartitionId, ShardId};

use super::piece::{self, Piece};
use crate::reconcile;
use crate::{Broker, calls, metrics};

/// How long one step may take.
const STEP_WAIT: Duration = Duration::from_secs(10);
/// Between two looks for the last records.
const REST_PAUSE: Duration = Duration::from_millis(5);

/// Why a partition has not arrived yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmoved {
    #[error("its move was called off, or has ended")]
    Over,
    #[error("nobody leads shard {0}, which has it")]
    NoSource(ShardId),
    #[error("node {node}, which leads the shard that has it: {source}")]
    Ask { node: NodeId, source: CallError },
    #[error("node {node}, which leads the shard that has it: {why}")]
    Answer { node: NodeId, why: String },
    #[error("its last records did not come: it has come to {has}, and ends at {end}")]
    Rest { has: Offset, end: Offset },
    #[error("this node's disk is too full")]
    DiskFull,
    #[error("an earlier copy of it is in the way")]
    Occupied,
    #[error("another leads the shard that has it, and its topic is compacted: from the beginning")]
    SourceChanged,
    #[error("its state cannot be read: {0}")]
    State(#[from] InvalidCheckpoint),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// What a partition that was sealed elsewhere goes on from.
struct Sealed {
    end: Offset,
    epoch: LeaderEpoch,
    state: Bytes,
}

/// A move, and where it stands on this node.
struct Bringing<'a> {
    broker: &'a Broker,
    shard: &'a Shard,
    partition: PartitionId,
    moving: PartitionMove,
    /// The shard that has the partition.
    from: ShardId,
    /// Who gave what has come so far.
    source: Option<NodeId>,
    /// What has come ends here.
    next: Offset,
    /// When it was asked to be sealed; none if that was done before.
    sealed_at: Option<Duration>,
}

/// Brings a partition over, from wherever its move stands.
pub(super) async fn bring(
    broker: &Broker,
    shard: &Shard,
    partition: PartitionId,
    moving: PartitionMove,
) -> Result<(), Unmoved> {
    let from = broker.image().shard_of(partition).ok_or(Unmoved::Over)?;
    let mut own = Bringing {
        broker,
        shard,
        partition,
        moving,
        from,
        source: None,
        next: Offset::ZERO,
        sealed_at: None,
    };
    own.receive(false).await?;
    if own.stage() == Some(Stage::Receiving) {
        own.next = own.has_come_to();
        if own.must_have_one_source() && own.next > Offset::ZERO {
            // Nobody remembers whose copy the first part is.
            own.receive(true).await?;
            own.next = Offset::ZERO;
        }
        while own.copy().await? {}
        own.sealed_at = Some(broker.clock().monotonic());
        let sealed = own.seal().await?;
        own.copy_to(sealed.end).await?;
        own.adopt(sealed).await?;
    }
    match own.stage() {
        Some(Stage::Open) => own.finish().await,
        Some(Stage::Receiving | Stage::Sealed(_)) | None => Err(Unmoved::Over),
    }
}

impl Bringing<'_> {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.broker.clock(), STEP_WAIT)
    }

    /// Replicas of a compacted topic differ in what they have removed: parts of two do not fit.
    fn must_have_one_source(&self) -> bool {
        let image = self.broker.image();
        image.topic_by_id(&self.partition.topic).is_none_or(|topic| topic.was_compacted)
    }

    /// How far what this move brings has come.
    fn stage(&self) -> Option<Stage> {
        let tenure = self.shard.tenure(self.partition);
        let own = tenure.filter(|tenure| tenure.arrived_by == Some(self.moving.id));
        own.map(|tenure| tenure.stage)
    }

    fn has_come_to(&self) -> Offset {
        let hosted = self.shard.hosted_partition(self.partition);
        hosted.map_or(Offset::ZERO, |hosted| hosted.handle.progress().high_watermark())
    }

    async fn control(&self, command: PartitionControl) -> Result<ControlOutcome, Unmoved> {
        Ok(self.shard.control_as_leader(command, self.deadline()).await?)
    }

    async fn receive(&self, is_anew: bool) -> Result<(), Unmoved> {
        let image = self.broker.image();
        let topic = image.topic_by_id(&self.partition.topic).ok_or(Unmoved::Over)?;
        let config = reconcile::config(&image.effective(topic));
        let (partition, by) = (self.partition, self.moving.id);
        let command = PartitionControl::Receive { partition, by, is_anew, config };
        quipu_failpoint::hold("broker.move.receive.before");
        let outcome = self.control(command).await?;
        let is_taken = matches!(outcome, ControlOutcome::Opened { .. });
        if is_taken { Ok(()) } else { Err(Unmoved::Occupied) }
    }

    /// Brings a piece over. False once it was the last, as far as was known when it was read.
    async fn copy(&mut self) -> Result<bool, Unmoved> {
        if self.broker.image().move_of(self.partition) != Some(self.moving) {
            return Err(Unmoved::Over);
        }
        if self.broker.inner.consensus.disk().full().is_some() {
            return Err(Unmoved::DiskFull);
        }
        let Piece { progress, batches } = self.ask().await?;
        let before = self.next;
        quipu_failpoint::hold("broker.move.import.before");
        let place = (self.partition, self.moving.id);
        let deadline = self.deadline();
        let bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
        let imports = batches
            .into_iter()
            .map(|batch| self.shard.import(place, progress.log_start(), batch, deadline));
        for outcome in futures::future::try_join_all(imports).await? {
            let ControlOutcome::Imported(progress) = outcome else { return Err(Unmoved::Over) };
            self.next = progress.high_watermark();
        }
        metrics::moved(bytes);
        // What was let go of there is not waited for here.
        self.next = self.next.max(progress.log_start());
        let is_last = self.next >= progress.high_watermark();
        if !is_last && self.next == before {
            return Err(Unmoved::Rest { has: self.next, end: progress.high_watermark() });
        }
        Ok(!is_last)
    }

    /// Brings the rest over. The seal is known a moment before its leader shows what lies below.
    async fn copy_to(&mut self, end: Offset) -> Result<(), Unmoved> {
        let deadline = self.deadline();
        while self.next < end {
            if self.copy().await? || self.next >= end {
                continue;
            }
            if deadline.is_past(self.broker.clock()) {
                return Err(Unmoved::Rest { has: self.next, end });
            }
            tokio::time::sleep(REST_PAUSE).await;
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<Piece, Unmoved> {
        let node = self.broker.leader_of(self.from).ok_or(Unmoved::NoSource(self.from))?;
        if self.source.is_some_and(|source| source != node) && self.must_have_one_source() {
            return Err(Unmoved::SourceChanged);
        }
        self.source = Some(node);
        let question = piece::encode_question(self.partition, self.from, self.next);
        let consensus = &self.broker.inner.consensus;
        let answer = consensus.call(node, calls::MOVING_PIECE, question, self.deadline()).await;
        let answer = answer.map_err(|source| Unmoved::Ask { node, source })?;
        piece::decode_answer(answer).map_err(|why| Unmoved::Answer { node, why })
    }

    /// Has the partition take no more where it is.
    async fn seal(&self) -> Result<Sealed, Unmoved> {
        let (partition, by) = (self.partition, self.moving.id);
        quipu_failpoint::hold("broker.move.seal.before");
        let command = PartitionControl::Seal { partition, by };
        let outcome = if let Some(shard) = self.broker.inner.shards.get(self.from) {
            shard.control(command, self.deadline()).await?
        } else {
            let node = self.broker.leader_of(self.from).ok_or(Unmoved::NoSource(self.from))?;
            let consensus = &self.broker.inner.consensus;
            let (place, clock) = ((node, self.from), self.broker.clock());
            control_at(consensus, place, command, clock, self.deadline()).await?
        };
        quipu_failpoint::hold("broker.move.seal.after");
        let ControlOutcome::Sealed { epoch, state } = outcome else {
            return Err(Unmoved::Occupied);
        };
        let end = PartitionCheckpoint::decode(&state)?.progress().high_watermark();
        Ok(Sealed { end, epoch, state })
    }

    async fn adopt(&self, Sealed { epoch, state, .. }: Sealed) -> Result<(), Unmoved> {
        let (partition, by) = (self.partition, self.moving.id);
        let command = PartitionControl::Adopt { partition, by, epoch_after: epoch, state };
        quipu_failpoint::hold("broker.move.adopt.before");
        let outcome = self.control(command).await?;
        let is_taken = matches!(outcome, ControlOutcome::Opened { .. });
        if is_taken { Ok(()) } else { Err(Unmoved::Occupied) }
    }

    async fn finish(&self) -> Result<(), Unmoved> {
        let metadata = &self.broker.inner.metadata;
        quipu_failpoint::hold("broker.move.finish.before");
        let deadline = self.deadline();
        metadata.finish_partition_move(self.partition, self.moving.id, deadline).await?;
        quipu_failpoint::hold("broker.move.finish.after");
        metrics::partition_moved();
        let (partition, from, to) = (self.partition, self.from, self.moving.to);
        let now = self.broker.clock().monotonic();
        let silent_ms = self.sealed_at.map(|since| now.saturating_sub(since).as_millis());
        tracing::info!(%partition, %from, %to, silent_ms, "a partition has moved");
        Ok(())
    }
}
