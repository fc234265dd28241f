//! Snapshots, from the state machine's side.

use std::sync::Arc;

use quipu_consensus::{AppliedState, StateMachineError};
use quipu_coordinator::Groups;
use quipu_partition::PartitionCheckpoint;
use quipu_types::PartitionId;
use quipu_types::record::ValidatedBatch;

use super::{Hosted, ShardStateMachine, failed};
use crate::snapshot::{
    HaveRow, Manifest, ManifestRow, Receiver, Source, SourcePartition, StageReader,
};

impl ShardStateMachine {
    /// What this replica has: the beginning of every partition, as everywhere.
    pub(super) fn have(&self) -> Vec<HaveRow> {
        let rows = self.hosted.iter().map(|(partition, hosted)| {
            let progress = hosted.partition.progress();
            HaveRow {
                partition: *partition,
                opened: hosted.opened,
                high_watermark: progress.high_watermark(),
            }
        });
        rows.collect()
    }

    /// A view of every partition as applied so far.
    pub(super) fn snapshot_source(&mut self) -> Result<Arc<Source>, StateMachineError> {
        self.publish();
        quipu_failpoint::hit("shard.snapshot.build.before");
        self.flush_changed().map_err(|error| failed("take snapshot of", self.shard, error))?;
        quipu_failpoint::hit("shard.snapshot.build.after");
        let mut partitions = Vec::with_capacity(self.hosted.len());
        for (partition, hosted) in &mut self.hosted {
            partitions.push(source_partition(*partition, hosted)?);
        }
        let groups = self.env.groups.read(Groups::export);
        Ok(Arc::new(Source::new(partitions, groups)))
    }

    /// Makes this replica's partitions those of the snapshot, durably.
    ///
    /// A crash in the middle leaves the old checkpoint: what was appended behind it is cut off at
    /// the next start, and what had to be given up is still there.
    pub(super) fn install_received(
        &mut self,
        state: &AppliedState,
        receiver: Receiver,
    ) -> Result<(), StateMachineError> {
        self.publish();
        let (manifest, staged) = receiver.into_parts();
        let mut groups = Groups::import(&manifest.groups)
            .map_err(|error| failed("install snapshot of", self.shard, error))?;
        if quipu_failpoint::is_planted("plant.groups.not-in-snapshot") {
            groups = Groups::default();
        }
        self.drop_strangers(&manifest);
        let mut reader = staged.reader();
        for row in &manifest.rows {
            self.install_partition(row, &mut reader)?;
        }
        assert!(
            reader.is_at_end(),
            "the receiver let in only batches of partitions in the manifest"
        );
        quipu_failpoint::hit("shard.install.partitions-filled");
        self.env.groups.write(|table| table.replace(groups));
        self.is_group_touched = true;
        self.make_durable(state)
            .map_err(|error| failed("install snapshot of", self.shard, error))?;
        quipu_failpoint::hit("shard.install.after");
        self.publish();
        self.env.metrics.snapshots_installed.increment(1);
        let (partitions, applied) = (manifest.rows.len(), state.applied.map(|id| id.to_string()));
        tracing::info!(shard = %self.shard, partitions, applied, "snapshot is installed");
        drop(staged);
        Ok(())
    }

    /// Forgets the partitions that were closed meanwhile, even if they were opened again.
    pub(super) fn drop_strangers(&mut self, manifest: &Manifest) {
        let is_stranger = |(id, hosted): &(&PartitionId, &Hosted)| {
            manifest.row(**id).is_none_or(|row| row.opened != hosted.opened)
        };
        let strangers: Vec<PartitionId> =
            self.hosted.iter().filter(is_stranger).map(|(id, _)| *id).collect();
        for partition in strangers {
            self.unhost(partition);
        }
    }

    pub(super) fn install_partition(
        &mut self,
        row: &ManifestRow,
        reader: &mut StageReader<'_>,
    ) -> Result<(), StateMachineError> {
        let id = row.partition;
        let mut hosted = match self.hosted.remove(&id) {
            Some(hosted) => hosted,
            None => self.open_new(id, row.opened, (row.epoch_base, row.tenure), row.config)?,
        };
        hosted.epoch_base = row.epoch_base;
        hosted.tenure = row.tenure;
        hosted.reconfigure(&self.env.partitions.segment, row.config);
        hosted.is_row_stale = true;
        let state = PartitionCheckpoint::decode(&row.state)
            .map_err(|error| failed("install partition", id, error))?;
        let has = hosted.partition.progress().high_watermark();
        let mut batches = std::iter::from_fn(|| next_missing(reader, id, has).transpose());
        hosted
            .partition
            .install(state, &mut batches)
            .map_err(|error| failed("install partition", id, error))?;
        self.host(id, hosted);
        self.touched.insert(id);
        Ok(())
    }
}

/// The next staged batch that the partition does not have: it may have come further since it said
/// what it has.
fn next_missing(
    reader: &mut StageReader<'_>,
    partition: PartitionId,
    has: quipu_types::Offset,
) -> Result<Option<ValidatedBatch>, StateMachineError> {
    loop {
        let next =
            reader.next_of(partition).map_err(|error| failed("read", "staged snapshot", error))?;
        match next {
            Some(batch) if batch.header().base_offset < has => {}
            next => return Ok(next),
        }
    }
}

fn source_partition(
    partition: PartitionId,
    hosted: &mut Hosted,
) -> Result<SourcePartition, StateMachineError> {
    let progress = hosted.partition.progress();
    let state =
        hosted.state().map_err(|error| failed("take snapshot of partition", partition, error))?;
    let row = ManifestRow {
        partition,
        opened: hosted.opened,
        epoch_base: hosted.epoch_base,
        config: hosted.config,
        log_start: progress.log_start(),
        high_watermark: progress.high_watermark(),
        tenure: hosted.tenure,
        state,
    };
    Ok(SourcePartition { row, handle: hosted.partition.handle() })
}
