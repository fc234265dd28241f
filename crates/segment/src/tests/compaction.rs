//! Compaction against a simple model, with crashes at any change of the disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_runtime::Rng;
use quipu_types::record::{BatchBuilder, Codec, Record, ValidatedBatch};

use super::*;
use crate::test_batch::{compressed, for_seeds};
use crate::{CompactionReport, CompactionRule, contents};

const FOR_EVER: u64 = u64::MAX;
const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Offset → record, of every batch that can be looked into.
type Records = BTreeMap<Offset, Record>;

fn record(rng: &mut Rng, time: i64) -> Record {
    let key = (rng.below(12) > 0).then(|| Bytes::from(vec![u8::try_from(rng.below(7)).unwrap()]));
    let length = usize::try_from(rng.below(60)).unwrap();
    let value = (rng.below(4) > 0).then(|| Bytes::from(vec![b'v'; length]));
    Record { timestamp: TimestampMs::new(time), key, value, headers: Vec::new() }
}

fn keyed_batch(rng: &mut Rng, time: i64) -> ValidatedBatch {
    if rng.below(30) == 0 {
        return compressed(&[time, time + 1], 20);
    }
    let mut builder = BatchBuilder::new(TimestampMs::new(time));
    for n in 0..1 + rng.below(4) {
        builder.push(&record(rng, time + i64::try_from(n).unwrap())).unwrap();
    }
    let at = usize::try_from(rng.below(7)).unwrap();
    quipu_compression::finish(builder, *CODECS.get(at).unwrap_or(&Codec::None)).unwrap()
}

/// The records of stored batches, which must follow each other without a gap in offsets.
fn records(batches: &[Bytes]) -> Records {
    let mut found = Records::new();
    let mut next = None;
    for bytes in batches {
        let batch = ValidatedBatch::parse(bytes.clone()).expect("a stored batch is whole");
        let base = batch.header().base_offset;
        assert_eq!(base, next.unwrap_or(base), "batches follow each other");
        next = Some(base.plus(batch.record_count().into()));
        let section = contents::plain(&batch);
        found.extend(section.into_iter().flat_map(|it| batch.records_of(it)).map(Result::unwrap));
    }
    found
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) disk: FaultyDisk,
    pub(super) log: SegmentLog,
    pub(super) model: Model,
    pub(super) applied: usize,
    pub(super) durable: LogEnd,
    pub(super) now: i64,
    pub(super) report: CompactionReport,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let disk = faulty(seed);
        let config = config(300 + rng.below(900), u32::try_from(rng.below(400)).unwrap());
        let log = open(&disk, &config, 0, LogEnd::default());
        let (model, durable) = (Model::default(), LogEnd::default());
        let report = CompactionReport::default();
        Self { rng, disk, log, model, applied: 0, durable, now: 0, report }
    }

    pub(super) fn append(&mut self) -> Result<(), crate::WriteError> {
        if self.applied == self.model.batches.len() {
            self.now += 100;
            let batch = keyed_batch(&mut self.rng, self.now);
            self.model.push(batch, i32::try_from(self.applied / 9).unwrap());
        }
        append(&mut self.log, &self.model.batches[self.applied])?;
        self.applied += 1;
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), crate::WriteError> {
        self.durable = self.log.flush()?;
        self.log.settle(self.durable);
        Ok(())
    }

    pub(super) fn rule(&mut self, tombstone_ms: u64) -> CompactionRule {
        CompactionRule {
            until: self.log.end().next,
            // The youngest record of a batch is a little younger than the batch.
            now: TimestampMs::new(self.now + 10),
            lag_min_ms: 0,
            lag_max_ms: if self.rng.below(3) == 0 { FOR_EVER } else { 0 },
            tombstone_ms,
            keys_max: usize::try_from(1 + self.rng.below(30)).unwrap(),
        }
    }

    pub(super) fn compact(&mut self) -> Result<(), ReadError> {
        let tombstone_ms = [0, 500, FOR_EVER][usize::try_from(self.rng.below(3)).unwrap()];
        let rule = self.rule(tombstone_ms);
        let done = self.log.reader().compact(&rule)?;
        self.report.records += done.records;
        self.report.segments += done.segments;
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        let is_power_cut = self.disk.is_dead() || self.rng.below(2) == 0;
        self.disk = if is_power_cut { self.disk.power_cut() } else { self.disk.restart() };
        let config = config(300 + self.rng.below(900), 100);
        self.log = open(&self.disk, &config, 0, self.durable);
        let end = self.durable.next;
        self.applied = self.model.batches.partition_point(|batch| batch.next <= end);
        assert!(files(&self.disk).iter().all(|name| !name.ends_with(".rewritten")));
        self.check();
    }

    /// What is there is as it was written, and of each key the newest is there, or a tombstone was
    /// and nothing older is.
    pub(super) fn check(&self) {
        let end = self.log.end().next;
        let found = records(&read_all(&self.log, Offset::ZERO, end, 900).unwrap());
        let stored: Vec<Bytes> =
            self.model.range(Offset::ZERO, end).iter().map(|batch| batch.stored.clone()).collect();
        let written = records(&stored);
        let mut newest: BTreeMap<&Bytes, Offset> = BTreeMap::new();
        for (offset, record) in &written {
            match (&record.key, found.get(offset)) {
                (Some(key), _) => drop(newest.insert(key, *offset)),
                (None, kept) => assert_eq!(kept, Some(record), "without key, at {offset}"),
            }
        }
        for (offset, record) in &found {
            assert_eq!(Some(record), written.get(offset), "at {offset}");
        }
        for (key, at) in newest {
            if !found.contains_key(&at) {
                assert_eq!(written[&at].value, None, "the newest of {key:?}, at {at}");
                let older = found.iter().find(|(_, record)| record.key.as_ref() == Some(key));
                assert_eq!(older, None, "came back to life: {key:?}");
            }
        }
    }

    /// A replica that never compacted has the same newest records.
    pub(super) fn compare_with_a_twin(&mut self) {
        let disk = faulty(1);
        let mut twin = open(&disk, &config(1 << 20, 0), 0, LogEnd::default());
        for batch in &self.model.batches[..self.applied] {
            append(&mut twin, batch).unwrap();
        }
        let end = self.log.end().next;
        let start = Offset::new(self.rng.below(end.get() + 1));
        for from in [Offset::ZERO, start] {
            let sum = |log: &SegmentLog, keys_max| {
                log.reader().key_checksum(from, end, keys_max).unwrap()
            };
            assert_eq!(sum(&self.log, 3), sum(&twin, 1000), "from {from} to {end}");
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..3 {
        let power_cut_at = (world.rng.below(3) > 0).then(|| 1 + world.rng.below(40));
        world.disk.set_faults(Faults { power_cut_at, ..Faults::default() });
        for _ in 0..10 + world.rng.below(30) {
            let is_fine = match world.rng.below(10) {
                0..=6 => world.append().is_ok(),
                7 => world.checkpoint().is_ok(),
                _ => world.compact().is_ok(),
            };
            if !is_fine {
                assert!(world.disk.is_dead(), "nothing else fails");
                break;
            }
        }
        world.crash();
    }
    while world.applied < world.model.batches.len() {
        world.append().unwrap();
    }
    world.checkpoint().unwrap();
    // Until there is nothing to do any more: then each key stands once in what was sealed.
    loop {
        let done = world.report;
        let rule = CompactionRule { lag_max_ms: 0, ..world.rule(FOR_EVER) };
        let round = world.log.reader().compact(&rule).unwrap();
        world.report.records += round.records;
        let view = world.log.reader().view();
        let is_clean = view.sealed.iter().all(|sealed| {
            let path = sealed.file.path().with_extension("cleaned");
            world.disk.exists(&path)
        });
        if done == world.report && is_clean {
            break;
        }
    }
    world.check();
    let sealed = world.log.reader().view().active.base;
    let found = records(&read_all(&world.log, Offset::ZERO, world.log.end().next, 900).unwrap());
    let mut keys: Vec<&Bytes> =
        found.range(..sealed).filter_map(|(_, record)| record.key.as_ref()).collect();
    keys.sort();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key stands twice: {keys:?}");
    world.compare_with_a_twin();
}

#[test]
fn of_each_key_the_newest_record_stays_whatever_happens() {
    for_seeds(2_000, run);
}

/// A log of sealed segments, everything durable.
fn settled(keys: &[(&str, Option<&str>)]) -> (FaultyDisk, SegmentLog) {
    let disk = faulty(7);
    let mut log = open(&disk, &config(1, 0), 0, LogEnd::default());
    let mut model = Model::default();
    for (n, (key, value)) in (0..).zip(keys) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let timestamp = TimestampMs::new(n * 100);
        let mut builder = BatchBuilder::new(timestamp);
        let (key, value) = (Some(bytes(key)), value.map(bytes));
        builder.push(&Record { timestamp, key, value, ..Record::default() }).unwrap();
        append(&mut log, model.push(builder.finish_plain(), 1)).unwrap();
    }
    let end = log.flush().unwrap();
    log.settle(end);
    (disk, log)
}

pub(super) fn rule(now: i64) -> CompactionRule {
    CompactionRule {
        until: Offset::new(u64::MAX),
        now: TimestampMs::new(now),
        lag_min_ms: 0,
        lag_max_ms: 0,
        tombstone_ms: 1_000,
        keys_max: 100,
    }
}

/// Offsets that have a record.
pub(super) fn kept(log: &SegmentLog) -> Vec<u64> {
    let all = read_all(log, Offset::ZERO, log.end().next, 1000).unwrap();
    records(&all).keys().map(|offset| offset.get()).collect()
}

#[test]
fn a_tombstone_goes_when_its_time_is_over_and_not_before() {
    let (_disk, log) =
        settled(&[("a", Some("1")), ("b", Some("1")), ("a", None), ("c", Some("1"))]);
    let reader = log.reader();
    reader.compact(&rule(10_000)).unwrap();
    assert_eq!(kept(&log), [1, 2, 3]);
    assert_eq!(reader.compact(&rule(10_999)).unwrap(), CompactionReport::default());
    assert_eq!(reader.compact(&rule(11_000)).unwrap().records, 1);
    assert_eq!(kept(&log), [1, 3]);
    assert_eq!(reader.compact(&rule(99_000)).unwrap(), CompactionReport::default());
}

#[test]
fn what_is_too_young_or_grows_or_is_not_committed_stays() {
    let keys = [("a", Some("1")), ("a", Some("2")), ("a", Some("3")), ("a", Some("4"))];
    let (_disk, log) = settled(&keys);
    let young = CompactionRule { lag_min_ms: 1_000, ..rule(1_150) };
    log.reader().compact(&young).unwrap();
    assert_eq!(kept(&log), [1, 2, 3], "the third was written at 200");
    let uncommitted = CompactionRule { until: Offset::new(2), ..rule(9_000) };
    log.reader().compact(&uncommitted).unwrap();
    assert_eq!(kept(&log), [1, 2, 3]);
    log.reader().compact(&rule(9_000)).unwrap();
    assert_eq!(kept(&log), [2, 3], "the last one grows");
}

#[test]
fn who_holds_a_segment_reads_it_on_after_it_was_replaced() {
    let (_disk, log) = settled(&[("a", Some("1")), ("a", Some("2")), ("b", Some("3"))]);
    let old = log.reader().view().sealed[0].clone();
    let report = log.reader().compact(&rule(9_000)).unwrap();
    assert_eq!((report.segments, report.records), (1, 1));
    let (open, _) = old.open().unwrap();
    assert_eq!(open.file.len().unwrap(), old.bytes);
    assert!(log.reader().view().sealed[0].bytes < old.bytes);
    assert_eq!(kept(&log), [1, 2]);
}

#[test]
fn what_no_checkpoint_covers_is_not_touched() {
    let disk = faulty(3);
    let mut log = open(&disk, &config(1, 0), 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..4 {
        append(&mut log, model.push(batch(&[n * 100], 30), 1)).unwrap();
    }
    log.flush().unwrap();
    log.reader().compact(&rule(9_000)).unwrap();
    assert!(files(&disk).iter().all(|name| !name.ends_with(".cleaned")), "not settled yet");
    let end = log.end();
    log.settle(end);
    log.reader().compact(&rule(9_000)).unwrap();
    assert_eq!(files(&disk).iter().filter(|name| name.ends_with(".cleaned")).count(), 3);
}
