//! Partitions that move from one shard to another (ADR partitions-move-through-the-log).

use std::convert::Infallible;

use bytes::Bytes;
use quipu_consensus::StateMachineError;
use quipu_partition::PartitionCheckpoint;
use quipu_types::record::ValidatedBatch;
use quipu_types::{EntryId, LeaderEpoch, MoveId, Offset, PartitionId, Progress};

use super::{ShardStateMachine, failed, leader_epoch};
use crate::bundle::PartitionConfig;
use crate::reply::Outcome;
use crate::tenure::{Claim, Stage, Tenure};

impl ShardStateMachine {
    /// Begins to take a partition in, `is_anew` from its beginning if it is not whole.
    pub(super) fn apply_receive(
        &mut self,
        id: EntryId,
        (partition, by): (PartitionId, MoveId),
        is_anew: bool,
        config: PartitionConfig,
    ) -> Result<Outcome, StateMachineError> {
        if let Some(tenure) = self.hosted.get(&partition).map(|hosted| hosted.tenure) {
            match tenure.claim(by) {
                Claim::Same if is_anew && tenure.is_receiving(by) => self.unhost(partition),
                Claim::Same => return Ok(Outcome::Opened { is_new: false }),
                Claim::Refused => return Ok(Outcome::Misplaced),
                Claim::Replaces => self.unhost(partition),
            }
        }
        let hosted = self.open_new(partition, id.index, (0, Tenure::receiving(by)), config)?;
        self.host(partition, hosted);
        self.touched.insert(partition);
        quipu_failpoint::hit("shard.move.receive.after");
        Ok(Outcome::Opened { is_new: true })
    }

    /// Takes a batch in as it was stored. One that is here already: nothing.
    pub(super) fn apply_import(
        &mut self,
        (partition, by): (PartitionId, MoveId),
        log_start: Offset,
        batch: &ValidatedBatch,
    ) -> Result<Outcome, StateMachineError> {
        let found = self.hosted.get_mut(&partition);
        let Some(hosted) = found.filter(|hosted| hosted.tenure.is_receiving(by)) else {
            return Ok(Outcome::Misplaced);
        };
        let progress = hosted.partition.progress();
        let (base, has) = (batch.header().base_offset, progress.high_watermark());
        let end = base.plus(batch.record_count().into());
        if end <= has {
            return Ok(Outcome::Imported(progress));
        }
        // What lies between was let go of while this was on its way.
        let is_behind_a_hole = has < base && base <= log_start;
        if base != has && !is_behind_a_hole {
            return Ok(Outcome::Misplaced);
        }
        let start = progress.log_start().max(log_start.min(end));
        let state = PartitionCheckpoint::bare(Progress::new(start, end));
        hosted
            .partition
            .install(state, &mut std::iter::once(Ok::<_, Infallible>(batch.clone())))
            .map_err(|error| failed("import into partition", partition, error))?;
        let progress = hosted.partition.progress();
        self.touched.insert(partition);
        quipu_failpoint::hit("shard.move.import.after");
        Ok(Outcome::Imported(progress))
    }

    /// Nothing changes any more; gives what the other shard goes on from.
    pub(super) fn apply_seal(
        &mut self,
        id: EntryId,
        (partition, by): (PartitionId, MoveId),
    ) -> Outcome {
        let Some(hosted) = self.hosted.get_mut(&partition) else {
            return Outcome::UnknownPartition;
        };
        let is_old = hosted.tenure.arrived_by.is_some_and(|arrived| arrived >= by);
        match hosted.tenure.stage {
            Stage::Open if quipu_failpoint::is_planted("plant.move.not-sealed") => {}
            Stage::Open if !is_old => {
                hosted.tenure.stage = Stage::Sealed(by);
                hosted.is_row_stale = true;
                self.env.table.insert(hosted.table_row());
                quipu_failpoint::hit("shard.move.seal.after");
            }
            Stage::Sealed(known) if known == by => {}
            Stage::Open | Stage::Receiving | Stage::Sealed(_) => return Outcome::Misplaced,
        }
        Outcome::Sealed {
            epoch: leader_epoch(hosted.epoch_base, id.term),
            state: hosted.partition.handover().encode(),
        }
    }

    /// The move was called off: goes on as before.
    pub(super) fn apply_unseal(&mut self, (partition, by): (PartitionId, MoveId)) -> Outcome {
        let Some(hosted) = self.hosted.get_mut(&partition) else {
            return Outcome::UnknownPartition;
        };
        match hosted.tenure.stage {
            Stage::Sealed(known) if known == by => {
                hosted.tenure.stage = Stage::Open;
                hosted.is_row_stale = true;
                self.env.table.insert(hosted.table_row());
                quipu_failpoint::hit("shard.move.unseal.after");
                Outcome::Opened { is_new: false }
            }
            Stage::Open => Outcome::Opened { is_new: false },
            Stage::Receiving | Stage::Sealed(_) => Outcome::Misplaced,
        }
    }

    /// What has arrived is whole: goes on with it, under higher leader epochs.
    pub(super) fn apply_adopt(
        &mut self,
        id: EntryId,
        (partition, by): (PartitionId, MoveId),
        epoch_after: LeaderEpoch,
        state: &Bytes,
    ) -> Result<Outcome, StateMachineError> {
        let found = self.hosted.get_mut(&partition);
        let Some(hosted) = found.filter(|hosted| hosted.tenure.arrived_by == Some(by)) else {
            return Ok(Outcome::Misplaced);
        };
        if hosted.tenure.stage != Stage::Receiving {
            return Ok(Outcome::Opened { is_new: false });
        }
        let Ok(state) = PartitionCheckpoint::decode(state) else { return Ok(Outcome::Misplaced) };
        let (has, whole) = (hosted.partition.progress(), state.progress());
        let is_empty = whole.log_start() == whole.high_watermark();
        let is_whole = has.high_watermark() == whole.high_watermark()
            || (is_empty && has.high_watermark() < whole.high_watermark());
        if !is_whole || has.log_start() > whole.log_start() {
            return Ok(Outcome::Misplaced);
        }
        hosted
            .partition
            .install(state, &mut std::iter::empty::<Result<ValidatedBatch, Infallible>>())
            .map_err(|error| failed("adopt partition", partition, error))?;
        if quipu_failpoint::is_planted("plant.move.producers-lost") {
            hosted.partition.forget_producers();
        }
        let term = leader_epoch(0, id.term);
        let base = epoch_after.get().saturating_add(1).saturating_sub(term.get());
        hosted.epoch_base = hosted.epoch_base.max(base);
        hosted.tenure.stage = Stage::Open;
        hosted.is_row_stale = true;
        self.env.table.insert(hosted.table_row());
        self.touched.insert(partition);
        quipu_failpoint::hit("shard.move.adopt.after");
        Ok(Outcome::Opened { is_new: true })
    }
}
