//! The follower's side: checks what comes and stages it.

use std::any::Any;
use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_consensus::{SnapshotReceiver, StateMachineError};
use quipu_types::record::ValidatedBatch;
use quipu_types::{Offset, PartitionId};

use super::chunk::{InvalidChunk, Section, sections};
use super::stage::{Overtaken, Staged, StagedPartition, Ticket};
use super::{Have, HaveRow, Manifest, ManifestRow, first_missing};
use crate::receipt::Telling;
use crate::state_machine::failed;

/// Receives one snapshot. Until it is installed, nothing refers to it; dropped before, it leaves
/// what was staged to the next.
pub(crate) struct Receiver {
    pub(crate) manifest: Manifest,
    ticket: Ticket,
    /// Complete and durable: nobody overtakes it any more.
    finished: Option<Staged>,
    have_bytes: Bytes,
    /// Who wants to know how far it has come.
    telling: Telling,
    /// The partition whose batches come now, by its place in the manifest.
    place: usize,
    /// Per partition, the offset its first batch had to hold, and the one its next must hold.
    bounds: Vec<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: Offset,
    next: Offset,
}

impl Receiver {
    /// Begins to receive the snapshot of `manifest`, with what a broken transfer has staged.
    pub(crate) fn create(
        ticket: Ticket,
        telling: Telling,
        manifest: &Bytes,
        have: Vec<HaveRow>,
    ) -> Result<Self, String> {
        let manifest = Manifest::decode(manifest).map_err(|error| error.to_string())?;
        let own = Have::open(&Have::encode(&have)).expect("encoded just now");
        let is_kept = |partition, staged: &StagedPartition| {
            manifest.row(partition).is_some_and(|row| is_of_use(row, &own, staged))
        };
        let overtaken = |error: Overtaken| error.to_string();
        ticket.with(|staged| staged.retain(is_kept)).map_err(overtaken)?;
        let mut have: BTreeMap<PartitionId, HaveRow> =
            have.into_iter().map(|row| (row.partition, row)).collect();
        let mut bounds = Vec::with_capacity(manifest.rows.len());
        let mut resumed = 0;
        for row in &manifest.rows {
            let first = first_missing(row, &own);
            let mut next = first;
            let end = |staged: &mut Staged| staged.partition(row.partition).map(|it| it.end);
            if let Some(end) = ticket.with(end).map_err(overtaken)? {
                next = end;
                resumed += next.get() - first.get();
                let (partition, opened) = (row.partition, row.opened);
                have.insert(partition, HaveRow { partition, opened, high_watermark: next });
            }
            bounds.push(Bounds { first, next });
        }
        let rows: Vec<HaveRow> = have.into_values().collect();
        let have_bytes = Have::encode(&rows);
        let finished = None;
        let receiver = Self { manifest, ticket, finished, have_bytes, telling, place: 0, bounds };
        let missing = receiver.tell(0);
        tracing::info!(resumed, missing, "records of a snapshot are here already, and to come");
        Ok(receiver)
    }

    /// Tells that so many bytes came, and how many records are still to come.
    fn tell(&self, bytes: usize) -> u64 {
        let rows = self.manifest.rows.iter().zip(&self.bounds);
        let missing =
            rows.map(|(row, bounds)| row.high_watermark.get().saturating_sub(bounds.next.get()));
        let missing = missing.sum();
        self.telling.tell(bytes, missing);
        missing
    }

    /// What is to be installed.
    ///
    /// # Panics
    /// When it is not finished.
    pub(crate) fn into_parts(mut self) -> (Manifest, Staged) {
        let staged = self.finished.take().expect("a receiver is finished before it is installed");
        (std::mem::take(&mut self.manifest), staged)
    }

    /// Checks every batch of a section, and that it continues what came before. Gives its place.
    fn check(&mut self, section: &Section) -> Result<usize, InvalidChunk> {
        let place = usize::try_from(section.place).unwrap_or(usize::MAX);
        if place < self.place || place >= self.manifest.rows.len() {
            return Err(InvalidChunk::new("partitions are out of order"));
        }
        self.check_complete(place)?;
        self.place = place;
        let end_of_view = self.manifest.rows[place].high_watermark;
        let mut batches = section.batches.clone();
        while !batches.is_empty() {
            let batch = ValidatedBatch::split_first(&mut batches)
                .map_err(|error| InvalidChunk::new(error.to_string()))?;
            let base = batch.header().base_offset;
            let end = base.plus(u64::from(batch.record_count()));
            let next = &mut self.bounds[place].next;
            if base > *next || end <= *next || end > end_of_view {
                return Err(InvalidChunk::new(format!("batch at {base} is out of order")));
            }
            *next = end;
        }
        Ok(place)
    }

    /// Checks that nothing is missing of the partitions before `place`.
    fn check_complete(&self, place: usize) -> Result<(), InvalidChunk> {
        let rows = self.manifest.rows.iter().zip(&self.bounds).take(place).skip(self.place);
        for (row, Bounds { next, .. }) in rows {
            if *next < row.high_watermark {
                let (partition, end) = (row.partition, row.high_watermark);
                let reason =
                    format!("offsets {next} to {end} of partition {partition} are missing");
                return Err(InvalidChunk::new(reason));
            }
        }
        Ok(())
    }
}

impl SnapshotReceiver for Receiver {
    fn have(&self) -> Bytes {
        self.have_bytes.clone()
    }

    fn staged_bytes(&self) -> u64 {
        self.ticket.with(|staged| staged.bytes()).unwrap_or_default()
    }

    fn give_up(self: Box<Self>) {
        drop(self.ticket.redeem());
    }

    fn write(&mut self, chunk: Bytes) -> Result<(), StateMachineError> {
        let refuse = |error| failed("receive", "snapshot", error);
        for section in sections(&chunk).map_err(refuse)? {
            let place = self.check(&section).map_err(refuse)?;
            let Bounds { first, next } = self.bounds[place];
            let (partition, opened) =
                (self.manifest.rows[place].partition, self.manifest.rows[place].opened);
            let begin = StagedPartition::new(opened, first);
            self.ticket
                .with(|staged| staged.push(partition, begin, &section.batches, next))
                .map_err(|error| failed("stage", "snapshot", error))?
                .map_err(|error| failed("stage", "snapshot", error))?;
        }
        self.tell(chunk.len());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StateMachineError> {
        self.check_complete(self.manifest.rows.len())
            .map_err(|error| failed("receive", "snapshot", error))?;
        self.ticket
            .with(|staged| staged.flush())
            .map_err(|error| failed("flush", "staged snapshot", error))?
            .map_err(|error| failed("flush", "staged snapshot", error))?;
        let staged = self.ticket.redeem();
        self.finished = Some(staged.map_err(|error| failed("finish", "snapshot", error))?);
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Whether staged batches are the beginning of what is missing of a partition.
fn is_of_use(row: &ManifestRow, own: &Have, staged: &StagedPartition) -> bool {
    staged.opened == row.opened
        && staged.from == first_missing(row, own)
        && staged.end <= row.high_watermark
}
