//! What a shard should hold at each applied index: written a second time, as simply as possible.

mod partition;
mod producers;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quipu_coordinator::Groups;
use quipu_shard::sim::SimView;
use quipu_shard::{Bundle, Command, Outcome, PartitionControl};
use quipu_types::{EntryId, PartitionId, Term, TimestampMs};

use self::partition::PartitionModel;
use crate::stop::{Step, Stop, check};

pub(crate) use self::producers::NextSequence;

/// One command, and what it did.
pub(crate) struct Applied<'a> {
    pub(crate) command: &'a Command,
    pub(crate) outcome: &'a Outcome,
    pub(crate) before: &'a Model,
    pub(crate) after: &'a Model,
}

/// A shard's state after some entries. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    partitions: BTreeMap<PartitionId, Arc<PartitionModel>>,
    groups: Arc<Groups>,
}

impl Model {
    /// Applies a bundle; says what each command must answer.
    pub(crate) fn apply(&mut self, id: EntryId, bundle: &Bundle) -> Vec<Outcome> {
        let commands = bundle.commands.iter();
        commands.map(|command| self.apply_one(id, bundle.proposed_at, command)).collect()
    }

    /// As [`Self::apply`]; `each` sees every command with what was before and after it.
    pub(crate) fn apply_each(
        &mut self,
        id: EntryId,
        bundle: &Bundle,
        each: &mut dyn FnMut(&Applied<'_>) -> Result<(), String>,
    ) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::new();
        for command in &bundle.commands {
            let before = self.clone();
            let outcome = self.apply_one(id, bundle.proposed_at, command);
            each(&Applied { command, outcome: &outcome, before: &before, after: self })?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn apply_one(&mut self, id: EntryId, now: TimestampMs, command: &Command) -> Outcome {
        match command {
            Command::Append { partition, batch } => match self.partition(*partition) {
                Some(found) => found.append(id.term, batch),
                None => Outcome::UnknownPartition,
            },
            Command::Import { partition, .. } => unreachable!("{partition} moves nowhere here"),
            Command::Control(control) => self.apply_control(id, control),
            Command::Group(bytes) => {
                let command = quipu_coordinator::Command::decode(bytes).expect("made here");
                Outcome::Group(Arc::make_mut(&mut self.groups).apply(now, command).encode())
            }
        }
    }

    fn apply_control(&mut self, id: EntryId, control: &PartitionControl) -> Outcome {
        match *control {
            PartitionControl::Open { partition, epoch_base, .. } => {
                if let Some(found) = self.partition(partition) {
                    found.raise_epoch_base(epoch_base);
                    return Outcome::Opened { is_new: false };
                }
                let opened = Arc::new(PartitionModel::new(id.index, epoch_base));
                self.partitions.insert(partition, opened);
                Outcome::Opened { is_new: true }
            }
            PartitionControl::Close { partition, .. } => match self.partitions.remove(&partition) {
                Some(_) => Outcome::Closed,
                None => Outcome::UnknownPartition,
            },
            PartitionControl::Trim { partition, to } => match self.partition(partition) {
                Some(found) => Outcome::Trimmed(found.trim(to)),
                None => Outcome::UnknownPartition,
            },
            PartitionControl::Receive { .. }
            | PartitionControl::Seal { .. }
            | PartitionControl::Unseal { .. }
            | PartitionControl::Adopt { .. } => unreachable!("partitions move nowhere here"),
        }
    }

    fn partition(&mut self, id: PartitionId) -> Option<&mut PartitionModel> {
        self.partitions.get_mut(&id).map(Arc::make_mut)
    }

    /// What a producer of a partition would send next.
    pub(crate) fn next_sequence(&self, partition: PartitionId, producer: i64) -> NextSequence {
        let found = self.partitions.get(&partition);
        found.map_or_else(NextSequence::default, |found| found.next_sequence(producer))
    }

    /// The next offset of a partition.
    pub(crate) fn high_watermark(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).map_or(0, |found| found.high_watermark())
    }

    /// First and next offset of a partition, if it is hosted.
    pub(crate) fn progress(&self, partition: PartitionId) -> Option<(u64, u64)> {
        self.partitions.get(&partition).map(|found| (found.log_start(), found.high_watermark()))
    }

    /// Bytes of the batches that a partition keeps.
    pub(crate) fn kept_bytes(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).map_or(0, |found| found.kept_bytes())
    }

    /// The consumer groups.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What a partition lost against an earlier state of the same life: it must be nothing.
    pub(crate) fn check_follows(&self, earlier: &Self) -> Result<(), String> {
        for (id, before) in &earlier.partitions {
            if let Some(now) = self.partitions.get(id) {
                now.check_follows(before).map_err(|error| format!("partition {id} {error}"))?;
            }
        }
        Ok(())
    }

    /// Compares with a real shard, byte for byte; `refused` judges a disk that does not answer.
    pub(crate) fn compare(&self, shard: &SimView, refused: &dyn Fn(String) -> Stop) -> Step {
        let found = shard.partitions();
        let ids: Vec<PartitionId> = found.iter().map(|handle| handle.id()).collect();
        let expected: Vec<PartitionId> = self.partitions.keys().copied().collect();
        check(ids == expected, || format!("hosts partitions {ids:?}, should host {expected:?}"))?;
        for (handle, model) in found.iter().zip(self.partitions.values()) {
            let base = shard.leader_epoch(handle.id(), Term::new(0)).map(|epoch| epoch.get());
            model.compare(handle, base, refused)?;
        }
        let groups: Bytes = shard.groups().read(Groups::export);
        let expected = self.groups.export();
        check(groups == expected, || format!("groups are {groups:?}, should be {expected:?}"))
    }
}
