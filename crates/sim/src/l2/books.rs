//! What is known of everything, by whoever looks from outside: batches, logs, groups.

mod groups;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quipu_types::PartitionId;
use quipu_types::record::{Record, ValidatedBatch};

use self::groups::GroupBook;
pub(super) use self::groups::{CommitTold, Stored};
use super::floor::now_ms;
use crate::l1::census::Event;
use crate::l1::scene::Scene;

/// A record's value is its batch's number and its place in it.
const PLACES: u64 = 1 << 8;
/// What a wall clock may be off by, and what passes between a decision and its effect, is on the
/// safe side of retention but for this. Unit: milliseconds.
const TOLERANCE_MS: i64 = 1_000;

/// One run's.
pub(super) struct Books {
    scene: Scene,
    partitions: BTreeMap<PartitionId, PartitionBook>,
    sends: BTreeMap<u64, Send>,
    producer_ids: i64,
    groups: BTreeMap<String, GroupBook>,
    commits: BTreeMap<u64, groups::Commit>,
}

/// A batch that a producer wants stored.
#[derive(Clone, Debug)]
struct Send {
    partition: PartitionId,
    /// Who sends it, and its place among what it sends to the partition.
    producer: u64,
    order: u64,
    records: u64,
    /// What was acknowledged before it was sent ends here.
    after: u64,
    found: Option<u64>,
    is_refused: bool,
}

#[derive(Debug, Default)]
struct PartitionBook {
    /// Each record that was ever stored: its value.
    log: BTreeMap<u64, u64>,
    batches: VecDeque<Kept>,
    log_start: u64,
    acked_end: u64,
    /// Somebody asked to have everything below removed.
    asked_below: u64,
    age_ms: Option<u64>,
    bytes: Option<u64>,
    /// The last batch of each producer.
    last_of: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    end: u64,
    max_timestamp: i64,
}

impl Books {
    pub(super) fn new(scene: Scene) -> Self {
        Self {
            scene,
            partitions: BTreeMap::new(),
            sends: BTreeMap::new(),
            producer_ids: 0,
            groups: BTreeMap::new(),
            commits: BTreeMap::new(),
        }
    }

    /// A partition with the limits of its topic.
    pub(super) fn open(&mut self, id: PartitionId, age_ms: Option<u64>, bytes: Option<u64>) {
        self.partitions.insert(id, PartitionBook { age_ms, bytes, ..PartitionBook::default() });
    }

    fn partition(&mut self, id: PartitionId) -> &mut PartitionBook {
        self.partitions.get_mut(&id).expect("partitions do not come and go")
    }

    /// An id that no producer had.
    pub(super) fn next_producer_id(&mut self) -> i64 {
        self.producer_ids += 1;
        self.producer_ids
    }

    /// A producer is about to send a batch for the first time; gives its number.
    pub(super) fn send(
        &mut self,
        partition: PartitionId,
        (producer, order): (u64, u64),
        records: u64,
    ) -> u64 {
        let number = u64::try_from(self.sends.len()).expect("few") + 1;
        let after = self.partition(partition).acked_end;
        let (found, is_refused) = (None, false);
        let send = Send { partition, producer, order, records, after, found, is_refused };
        self.sends.insert(number, send);
        number
    }

    /// The value of a record.
    pub(super) fn value(number: u64, place: u64) -> Bytes {
        Bytes::copy_from_slice(&(number * PLACES + place).to_be_bytes())
    }

    /// A batch was acknowledged.
    pub(super) fn acknowledged(&mut self, number: u64, base: Option<u64>) -> Result<(), String> {
        let send = self.sends.get(&number).expect("it was sent").clone();
        let Some(found) = send.found else {
            return Err(format!("batch {number} is acknowledged and nowhere: {send:?}"));
        };
        if base.is_some_and(|base| base != found) {
            return Err(format!("batch {number} is at {found}, {base:?} was acknowledged"));
        }
        let book = self.partition(send.partition);
        book.acked_end = book.acked_end.max(found + send.records);
        Ok(())
    }

    /// A producer was told that a batch is not stored and never will be.
    pub(super) fn refused(&mut self, number: u64) -> Result<(), String> {
        let send = self.sends.get_mut(&number).expect("it was sent");
        send.is_refused = true;
        match send.found {
            None => Ok(()),
            Some(found) => Err(format!("batch {number} is at {found} and was refused: {send:?}")),
        }
    }

    /// A batch is in the log, for the first time.
    pub(super) fn appended(
        &mut self,
        partition: PartitionId,
        base: u64,
        batch: &ValidatedBatch,
    ) -> Result<(), String> {
        let values = values(batch)?;
        let Some(number) = values.first().map(|value| value / PLACES) else {
            return Err(format!("partition {partition} has an empty batch at {base}"));
        };
        let Some(send) = self.sends.get_mut(&number) else {
            return Err(format!("partition {partition} has batch {number} that nobody sent"));
        };
        let expected = (0..send.records).map(|place| number * PLACES + place);
        if send.partition != partition || !expected.eq(values.iter().copied()) {
            return Err(format!("partition {partition} has {values:?} for batch {send:?}"));
        }
        if let Some(before) = send.found.replace(base) {
            return Err(format!("batch {number} is at {before} and at {base} of {partition}"));
        }
        if send.is_refused {
            return Err(format!("batch {number} is at {base} of {partition} and was refused"));
        }
        if base < send.after {
            let after = send.after;
            return Err(format!(
                "batch {number} is at {base}, before {after}, acknowledged before"
            ));
        }
        let (producer, order) = (send.producer, send.order);
        let max_timestamp = batch.header().max_timestamp.get();
        let book = self.partition(partition);
        let end = book.log.last_key_value().map_or(0, |(last, _)| last + 1);
        if base != end {
            return Err(format!("partition {partition} goes on at {base} after {end}"));
        }
        let last = book.last_of.entry(producer).or_default();
        if *last >= order {
            return Err(format!(
                "producer {producer} has batch {order} at {base} of {partition}, behind {last}"
            ));
        }
        *last = order;
        book.log.extend((base..).zip(values));
        let end = base + u64::from(batch.record_count());
        book.batches.push_back(Kept { end, max_timestamp });
        Ok(())
    }

    /// Somebody wants everything below removed.
    pub(super) fn ask_to_delete(&mut self, partition: PartitionId, below: u64) {
        let book = self.partition(partition);
        book.asked_below = book.asked_below.max(below);
    }

    /// The log start moved; `kept` bytes are left.
    pub(super) fn trimmed(
        &mut self,
        partition: PartitionId,
        to: u64,
        kept: u64,
    ) -> Result<(), String> {
        let now = now_ms(&self.scene);
        let book = self.partition(partition);
        let from = std::mem::replace(&mut book.log_start, to);
        if to < from {
            return Err(format!("partition {partition} begins at {to} after {from}"));
        }
        let is_small = book.bytes.is_some_and(|limit| kept >= limit);
        let (mut is_by_policy, mut reached) = (false, from);
        while let Some(batch) = book.batches.front().copied() {
            if batch.end > to {
                break;
            }
            book.batches.pop_front();
            reached = batch.end;
            if batch.end <= book.asked_below {
                continue;
            }
            is_by_policy = true;
            let age = now - batch.max_timestamp + TOLERANCE_MS;
            let is_old = book.age_ms.is_some_and(|limit| u64::try_from(age).unwrap_or(0) >= limit);
            if !is_old && !is_small {
                return Err(format!(
                    "partition {partition} let go of everything below {to}: what ends at {} is {} \
                     ms old, {kept} bytes are left, and the limits are {:?} ms and {:?} bytes",
                    batch.end,
                    now - batch.max_timestamp,
                    book.age_ms,
                    book.bytes
                ));
            }
        }
        if to > book.asked_below && reached != to {
            return Err(format!("partition {partition} begins within a batch, at {to}"));
        }
        if to > from {
            let event = if is_by_policy { Event::Retired } else { Event::Deleted };
            self.scene.count(event, format_args!("partition {partition} begins at {to}"));
        }
        Ok(())
    }

    /// Where a partition begins.
    pub(super) fn log_start(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).map_or(0, |book| book.log_start)
    }

    /// Where a partition ends.
    pub(super) fn end(&self, partition: PartitionId) -> u64 {
        let book = self.partitions.get(&partition);
        book.and_then(|book| book.log.last_key_value()).map_or(0, |(last, _)| last + 1)
    }

    /// What was acknowledged of a partition ends here.
    pub(super) fn acked_end(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).map_or(0, |book| book.acked_end)
    }

    /// Records were read from `from` on; gives the offset behind them.
    pub(super) fn read(
        &self,
        partition: PartitionId,
        from: u64,
        batches: &[Bytes],
    ) -> Result<u64, String> {
        let book = &self.partitions[&partition];
        let mut next = from;
        for mut bytes in batches.iter().cloned() {
            while !bytes.is_empty() {
                let batch = ValidatedBatch::split_first(&mut bytes)
                    .map_err(|error| format!("a read of {partition} at {next}: {error}"))?;
                let base = batch.header().base_offset.get();
                let end = base + u64::from(batch.record_count());
                let fits = if next == from { base <= next } else { base == next };
                if !fits || end <= next {
                    return Err(format!(
                        "a read of {partition} at {next} brings {base} to {end}: something is left \
                         out"
                    ));
                }
                for (offset, value) in (base..).zip(values(&batch)?) {
                    if book.log.get(&offset) != Some(&value) {
                        let stored = book.log.get(&offset);
                        return Err(format!(
                            "a read of {partition} has {value} at {offset}, the log {stored:?}"
                        ));
                    }
                }
                next = end;
            }
        }
        Ok(next)
    }

    fn note(&self, event: Event, what: std::fmt::Arguments<'_>) {
        self.scene.count(event, what);
    }
}

fn values(batch: &ValidatedBatch) -> Result<Vec<u64>, String> {
    let records = batch.records().map_err(|error| error.to_string())?;
    let value = |record: Record| {
        let value = record.value.unwrap_or_default();
        let number = value.as_ref().try_into().map(u64::from_be_bytes);
        number.map_err(|_| format!("a value of {} bytes", value.len()))
    };
    records.map(|record| value(record.map_err(|error| error.to_string())?.1)).collect()
}
