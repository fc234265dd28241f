//! A damaged log that was compacted takes everything up to an offset from another replica, which
//! was compacted otherwise: no key comes back to life, none is lost, whatever happens meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_runtime::Rng;
use quipu_types::record::{BatchBuilder, Record, ValidatedBatch};

use super::compaction::{World, kept, rule};
use super::*;
use crate::test_batch::for_seeds;
use crate::{MendError, Prefix, PrefixCopy};

fn replica(seed: u64, model: Option<&Model>) -> World {
    let mut world = World::new(seed);
    if let Some(model) = model {
        world.model = model.clone();
    }
    let mut rng = Rng::seeded(seed ^ 0x5EED);
    let count = model.map_or_else(|| 24 + rng.below(40), |model| model.batches.len() as u64);
    for _ in 0..count {
        world.append().unwrap();
        world.now = world
            .now
            .max(world.model.batches[world.applied - 1].batch.header().max_timestamp.get());
        if rng.below(4) == 0 {
            world.checkpoint().unwrap();
        }
        if rng.below(5) == 0 {
            world.now += 300;
            world.compact().unwrap();
        }
    }
    world.checkpoint().unwrap();
    world
}

/// A segment that may be replaced, if there is one: its base.
fn victim(world: &mut World) -> Option<(u64, u64)> {
    let view = world.log.reader().view();
    let settled = view.sealed.iter().filter(|it| it.next <= world.durable.segment);
    let settled: Vec<(u64, u64)> = settled.map(|it| (it.base.get(), it.bytes)).collect();
    let at = usize::try_from(world.rng.below(settled.len().max(1) as u64)).unwrap();
    settled.get(at).copied()
}

/// Flips a bit of the first batch behind its header.
fn damage(world: &mut World) -> Option<Offset> {
    let (base, bytes) = victim(world)?;
    let place = 61 + world.rng.below(bytes.min(70) - 61).min(8);
    world.disk.flip_bit(&log_path(base), place, 2);
    Some(Offset::new(base))
}

fn fill(copy: &mut PrefixCopy, from: &SegmentLog) -> Result<(), MendError> {
    while let Some((at, until)) = copy.missing() {
        for bytes in from.reader().read(at, until, 700)? {
            copy.put(&ValidatedBatch::parse(bytes).unwrap())?;
        }
    }
    Ok(())
}

fn begin(log: &SegmentLog, at: Offset) -> Result<Box<PrefixCopy>, MendError> {
    match log.reader().copy_prefix(at)? {
        Prefix::Copy(copy) => Ok(copy),
        Prefix::Growing(at) => panic!("nothing was removed behind a checkpoint: {at}"),
    }
}

/// Where the copy ended.
fn replace(log: &SegmentLog, from: &SegmentLog, at: Offset) -> Result<Offset, MendError> {
    let mut copy = begin(log, at)?;
    fill(&mut copy, from)?;
    let end = copy.end();
    copy.finish()?;
    Ok(end)
}

/// Every log file below an offset.
fn contents(disk: &FaultyDisk, until: Offset) -> BTreeMap<String, Vec<u8>> {
    let logs = files(disk).into_iter().filter(|name| name.ends_with(".log"));
    let below = logs.filter(|name| name[..20].parse::<u64>().unwrap() < until.get());
    let read = |name: String| {
        let file = disk.open(&dir().join(&name), quipu_disk::OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    below.map(read).collect()
}

fn no_trace_is_left(disk: &FaultyDisk) {
    let left: Vec<String> = files(disk)
        .into_iter()
        .filter(|name| name.ends_with(".copied") || name == "mending")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Compaction goes on with what came.
fn goes_on(world: &mut World) {
    world.check();
    world.compare_with_a_twin();
    for _ in 0..4 {
        world.now += 1_000;
        world.compact().unwrap();
        world.check();
    }
    world.compare_with_a_twin();
}

fn run(seed: u64) {
    let mut mine = replica(seed * 2, None);
    let theirs = replica(seed * 2 + 1, Some(&mine.model));
    let Some(at) = damage(&mut mine) else { return };
    let end = replace(&mine.log, &theirs.log, at).unwrap();
    assert!(end > at);
    no_trace_is_left(&mine.disk);
    mine.check();
    mine.disk = mine.disk.power_cut();
    mine.log = open(&mine.disk, &config(500, 100), 0, mine.durable);
    mine.log.settle(mine.durable);
    goes_on(&mut mine);
}

#[test]
fn no_key_comes_back_to_life_and_none_is_lost_however_both_were_compacted() {
    for_seeds(250, run);
}

/// A crash at every change of the disk leaves all of the old log or all of the copy.
fn crash_everywhere(seed: u64) -> [u32; 2] {
    let mut outcomes = [0, 0];
    for step in 1.. {
        let mut mine = replica(seed * 2, None);
        let theirs = replica(seed * 2 + 1, Some(&mine.model));
        let Some(at) = damage(&mut mine) else { return outcomes };
        let copy = begin(&mine.log, at).unwrap();
        let until = copy.end();
        drop(copy);
        let before = contents(&mine.disk, until);
        mine.disk.set_faults(Faults { power_cut_at: Some(step), ..Faults::default() });
        let done = replace(&mine.log, &theirs.log, at);
        let is_over = !mine.disk.is_dead();
        mine.disk = if step % 2 == 0 { mine.disk.power_cut() } else { mine.disk.restart() };
        let opened = open(&mine.disk, &config(500, 100), 0, mine.durable);
        mine.log = opened;
        no_trace_is_left(&mine.disk);
        mine.log.settle(mine.durable);
        if contents(&mine.disk, until) == before {
            assert!(!is_over, "done: {done:?}");
            outcomes[0] += 1;
            replace(&mine.log, &theirs.log, at).unwrap();
        } else {
            outcomes[1] += 1;
        }
        let now = contents(&mine.disk, until);
        for (name, bytes) in now {
            let base = Offset::new(name[..20].parse().unwrap());
            let stored = theirs.log.reader().read(base, base.plus(1), 1).unwrap();
            assert_eq!(bytes[..stored[0].len()], stored[0][..], "step {step}: {name} is theirs");
        }
        goes_on(&mut mine);
        if is_over {
            done.unwrap();
            break;
        }
    }
    outcomes
}

#[test]
fn a_crash_at_any_step_leaves_the_old_log_or_the_copy_and_never_some_of_each() {
    let mut all = [0, 0];
    for seed in 0..4 {
        let outcomes = crash_everywhere(seed);
        all = [all[0] + outcomes[0], all[1] + outcomes[1]];
    }
    assert!(all.iter().all(|count| *count > 9), "{all:?}");
}

/// Each batch is a segment; what is behind the last is never sealed.
fn log_of(records: &[(&str, Option<&str>)]) -> (FaultyDisk, SegmentLog, LogEnd) {
    let disk = faulty(7);
    let mut log = open(&disk, &config(1, 0), 0, LogEnd::default());
    let mut model = Model::default();
    for (key, value) in records {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut builder = BatchBuilder::new(TimestampMs::new(0));
        let (key, value) = (Some(bytes(key)), value.map(bytes));
        builder.push(&Record { key, value, ..Record::default() }).unwrap();
        append(&mut log, model.push(builder.finish_plain(), 1)).unwrap();
    }
    let end = log.flush().unwrap();
    log.settle(end);
    (disk, log, end)
}

/// The other replica still has what this one has forgotten even the end of.
#[test]
fn all_is_replaced_from_which_something_may_be_gone_and_no_more() {
    let records = [
        ("a", Some("1")),
        ("b", Some("1")),
        ("a", None),
        ("c", Some("1")),
        ("d", Some("1")),
        ("e", Some("1")),
    ];
    let (disk, log, _) = log_of(&records);
    let (_, theirs, _) = log_of(&records);
    let early = crate::CompactionRule { until: Offset::new(4), ..rule(10_000) };
    log.reader().compact(&early).unwrap();
    log.reader()
        .compact(&crate::CompactionRule { now: TimestampMs::new(99_000), ..early })
        .unwrap();
    assert_eq!(kept(&log), [1, 3, 4, 5], "the tombstone is gone");
    disk.flip_bit(&log_path(0), 66, 1);
    let end = replace(&log, &theirs, Offset::ZERO).unwrap();
    assert_eq!(end, Offset::new(4), "what lies behind was never compacted");
    assert_eq!(kept(&log), [0, 1, 2, 3, 4, 5], "with the tombstone");
    // Nobody believes what was noted of the old segments: the tombstone is needed again.
    log.reader().compact(&rule(199_000)).unwrap();
    assert_eq!(kept(&log), [1, 2, 3, 4, 5]);
}

#[test]
fn what_lost_records_and_still_grows_is_waited_for() {
    let records = [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("c", Some("1"))];
    let (disk, mut log, _) = log_of(&records);
    disk.flip_bit(&log_path(0), 66, 1);
    // As from a snapshot: a batch whose record is gone.
    let mut builder = BatchBuilder::new(TimestampMs::new(0));
    builder.push(&Record::default()).unwrap();
    let plain = builder.finish_plain();
    let gone = plain.with_gaps(&plain.section(), |_, _| false).unwrap().unwrap();
    let at = log.end().next;
    let prefix = gone.stamped_prefix(at, LeaderEpoch::new(1));
    let stored = Bytes::from([&prefix[..], &gone.bytes()[16..]].concat());
    log.append_stored(&ValidatedBatch::parse(stored).unwrap()).unwrap();
    let waits = |log: &SegmentLog, at: Offset, expected: Offset| {
        let begun = log.reader().copy_prefix(at).unwrap();
        assert!(matches!(begun, Prefix::Growing(found) if found == expected), "{at}");
    };
    waits(&log, Offset::ZERO, at);
    waits(&log, at, at);
    let end = log.flush().unwrap();
    log.settle(end);
    waits(&log, Offset::ZERO, at);
}

#[test]
fn what_is_no_copy_changes_nothing_and_leaves_nothing() {
    let records = [("a", Some("1")), ("a", Some("2")), ("b", Some("3")), ("c", Some("4"))];
    let (disk, log, _) = log_of(&records);
    let (_, theirs, _) = log_of(&records);
    disk.flip_bit(&log_path(1), 66, 1);
    let batch = |at: u64| {
        let at = Offset::new(at);
        let read = theirs.reader().read(at, at.plus(1), 1).unwrap();
        ValidatedBatch::parse(read[0].clone()).unwrap()
    };
    let before = contents(&disk, Offset::new(9));
    let mut copy = begin(&log, Offset::new(1)).unwrap();
    assert!(matches!(copy.put(&batch(1)), Err(MendError::Gap { .. })), "one is left out");
    copy.put(&batch(0)).unwrap();
    assert!(matches!(copy.put(&batch(0)), Err(MendError::Gap { .. })), "twice");
    let old = batch(1);
    let prefix = old.stamped_prefix(Offset::new(1), LeaderEpoch::new(0));
    let stored = Bytes::from([&prefix[..], &old.bytes()[16..]].concat());
    let fallen = ValidatedBatch::parse(stored).unwrap();
    assert!(matches!(copy.put(&fallen), Err(MendError::Epoch { .. })));
    assert!(copy.put_own(Offset::new(2)).is_err(), "that is the damaged one");
    assert!(matches!(copy.finish(), Err(MendError::Gap { .. })), "not whole");
    assert_eq!(contents(&disk, Offset::new(9)), before);
    no_trace_is_left(&disk);
    // What the other one does not have any more is filled with what is here.
    let mut copy = begin(&log, Offset::new(1)).unwrap();
    copy.put_own(Offset::new(1)).unwrap();
    fill(&mut copy, &theirs).unwrap();
    copy.finish().unwrap();
    assert_eq!(kept(&log), [0, 1, 2, 3]);
}

#[test]
fn what_is_trimmed_meanwhile_stays_gone() {
    let records = [("a", Some("1")), ("b", Some("2")), ("c", Some("3")), ("d", Some("4"))];
    let (disk, mut log, end) = log_of(&records);
    let (_, theirs, _) = log_of(&records);
    log.reader().compact(&rule(10_000)).unwrap();
    disk.flip_bit(&log_path(2), 66, 1);
    let mut copy = begin(&log, Offset::new(2)).unwrap();
    fill(&mut copy, &theirs).unwrap();
    log.trim(Offset::new(2)).unwrap();
    copy.finish().unwrap();
    no_trace_is_left(&disk);
    assert_eq!(log.reader().read(Offset::new(2), end.next, 1000).unwrap().len(), 2);
    drop(log);
    let log = open(&disk.power_cut(), &config(1, 0), 2, end);
    assert_eq!(log.reader().extents()[0].base, Offset::new(2));
    assert_eq!(log.reader().read(Offset::new(2), end.next, 1000).unwrap().len(), 2);
}
