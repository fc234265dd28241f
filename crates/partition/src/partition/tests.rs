//! The partition as a whole.

use std::convert::Infallible;
use std::path::Path;

use quipu_disk::{Faults, FaultyDisk};
use quipu_types::{PartitionIndex, TopicId};

use super::*;
use crate::error::ReadError;
use crate::test_batch::{batch, from_producer};

mod replicas;

fn id() -> PartitionId {
    PartitionId::new(TopicId::from_bytes([0xAB; 16]), PartitionIndex::new(3))
}

fn env(disk: &FaultyDisk, segment_bytes: u64) -> PartitionEnv {
    PartitionEnv {
        disk: Arc::new(disk.clone()),
        root_dir: "/partitions".into(),
        segment: Config { segment_bytes, index_interval_bytes: 200, ..Config::default() },
    }
}

fn faulty(seed: u64) -> FaultyDisk {
    FaultyDisk::new(seed, Faults::default())
}

fn new_partition(disk: &FaultyDisk) -> Partition {
    Partition::open(&env(disk, 1000), id(), PartitionCheckpoint::default()).unwrap()
}

fn epoch(n: i32) -> LeaderEpoch {
    LeaderEpoch::new(n)
}

fn append(partition: &mut Partition, time: i64, records: usize) -> Appended {
    let batch = batch(&vec![time; records], 20);
    partition.apply_append(epoch(1), &batch).unwrap().unwrap()
}

/// Everything readers can see, read in steps.
fn read_all(handle: &PartitionHandle) -> Vec<bytes::Bytes> {
    let (mut at, end) = (handle.progress().log_start(), handle.progress().high_watermark());
    let mut all = Vec::new();
    while at < end {
        for stored in handle.read(at, 500).unwrap() {
            let header = quipu_types::record::BatchHeader::decode(&stored).unwrap();
            at = header.base_offset.plus(u64::try_from(header.record_count).unwrap());
            all.push(stored);
        }
    }
    all
}

#[test]
fn offsets_are_dense_from_zero() {
    let disk = faulty(1);
    let mut partition = new_partition(&disk);
    for (time, records, base) in [(5, 3, 0), (6, 1, 3), (2, 2, 4)] {
        let appended = append(&mut partition, time, records);
        assert_eq!(appended.base_offset, Offset::new(base));
        assert_eq!(appended.high_watermark_after, Offset::new(base).plus(records as u64));
        assert_eq!((appended.is_duplicate, appended.max_timestamp.get()), (false, time));
    }
}

#[test]
fn a_new_partition_costs_nothing_on_disk() {
    let disk = faulty(2);
    let mut partition = new_partition(&disk);
    assert!(!partition.is_dirty());
    partition.publish();
    partition.checkpoint().unwrap();
    partition.checkpoint_is_durable();
    assert_eq!(partition.handle().size_bytes(), 0);
    assert_eq!((disk.mutations(), disk.exists(Path::new("/partitions"))), (0, false));
}

#[test]
fn readers_see_what_was_published_and_nothing_else() {
    let disk = faulty(3);
    let mut partition = new_partition(&disk);
    let handle = partition.handle();
    let mut watch = handle.watch();
    append(&mut partition, 1, 2);
    assert!(!watch.has_changed().unwrap());
    assert!(handle.read(Offset::ZERO, 1000).unwrap().is_empty());
    assert!(matches!(handle.read(Offset::new(1), 1000), Err(ReadError::OffsetOutOfRange { .. })));
    partition.publish();
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.borrow_and_update().high_watermark(), Offset::new(2));
    append(&mut partition, 1, 2);
    assert_eq!(handle.read(Offset::ZERO, 1000).unwrap().len(), 1);
    assert_eq!(handle.read_in_memory(Offset::ZERO, 1000).unwrap().map(|read| read.len()), Some(1));
    assert_eq!(handle.read_in_memory(Offset::new(2), 1000).unwrap(), Some(Vec::new()));
    assert!(handle.read_in_memory(Offset::new(3), 1000).is_err());
    partition.publish();
    partition.publish();
    assert_eq!(handle.read(Offset::ZERO, 1000).unwrap().len(), 2);
}

#[test]
fn a_read_outside_of_the_log_names_both_bounds() {
    let disk = faulty(4);
    let mut partition = new_partition(&disk);
    for n in 0..10 {
        append(&mut partition, n, 1);
    }
    partition.apply_trim(Offset::new(4)).unwrap();
    partition.publish();
    let handle = partition.handle();
    for from in [0, 3, 11, u64::MAX] {
        let refused = handle.read(Offset::new(from), 1000).unwrap_err();
        let ReadError::OffsetOutOfRange { from: asked, log_start, high_watermark } = refused else {
            panic!("{refused}")
        };
        assert_eq!((asked.get(), log_start.get(), high_watermark.get()), (from, 4, 10));
    }
    assert_eq!(handle.read(Offset::new(4), 10_000).unwrap().len(), 6);
    assert!(handle.read(Offset::new(10), 1000).unwrap().is_empty());
}

#[test]
fn a_duplicate_writes_nothing_and_answers_as_before() {
    let disk = faulty(5);
    let mut partition = new_partition(&disk);
    let first = from_producer(batch(&[7, 9], 20), (42, 0, 0));
    let second = from_producer(batch(&[8], 20), (42, 0, 2));
    let original = partition.apply_append(epoch(1), &first).unwrap().unwrap();
    partition.apply_append(epoch(1), &second).unwrap().unwrap();
    partition.checkpoint().unwrap();
    let (size, before) = (partition.handle().size_bytes(), partition.progress());
    let again = partition.apply_append(epoch(2), &first).unwrap().unwrap();
    assert_eq!(
        (again.base_offset, again.max_timestamp),
        (original.base_offset, TimestampMs::new(9))
    );
    assert!(again.is_duplicate && !partition.is_dirty());
    assert_eq!((partition.handle().size_bytes(), partition.progress()), (size, before));
}

#[test]
fn deduplication_outlives_the_segments_a_restart_and_a_snapshot() {
    let disk = faulty(6);
    let mut partition = new_partition(&disk);
    let first = from_producer(batch(&[1], 400), (42, 0, 0));
    let second = from_producer(batch(&[2], 400), (42, 0, 1));
    partition.apply_append(epoch(1), &first).unwrap().unwrap();
    partition.apply_append(epoch(1), &second).unwrap().unwrap();
    partition.apply_trim(Offset::new(2)).unwrap();
    let row = partition.checkpoint().unwrap().encode();
    partition.checkpoint_is_durable();
    assert_eq!(partition.handle().size_bytes(), 0, "every segment is gone");
    let state = PartitionCheckpoint::decode(&row).unwrap();
    let mut restarted =
        Partition::open(&env(&disk.power_cut(), 1000), id(), state.clone()).unwrap();
    let mut copy = new_partition(&faulty(60));
    copy.install(state, &mut std::iter::empty::<Result<_, Infallible>>()).unwrap();
    for replica in [&mut partition, &mut restarted, &mut copy] {
        for (n, batch) in [(0, &first), (1, &second)] {
            let again = replica.apply_append(epoch(3), batch).unwrap().unwrap();
            assert_eq!((again.base_offset, again.is_duplicate), (Offset::new(n), true));
        }
        let third = from_producer(batch(&[3], 4), (42, 0, 2));
        let new = replica.apply_append(epoch(3), &third).unwrap().unwrap();
        assert_eq!(new.base_offset, Offset::new(2));
    }
}

#[test]
fn a_trim_frees_nothing_before_the_checkpoint_is_durable() {
    let disk = faulty(7);
    let mut partition = new_partition(&disk);
    for n in 0..40 {
        append(&mut partition, n, 1);
    }
    let old = partition.checkpoint().unwrap();
    partition.publish();
    let whole = partition.handle().checksum().unwrap();
    assert_eq!(partition.apply_trim(Offset::new(35)).unwrap().log_start(), Offset::new(35));
    assert!(partition.is_dirty());
    partition.checkpoint_is_durable();
    partition.checkpoint().unwrap();
    let size = partition.handle().size_bytes();
    // The new checkpoint did not make it: everything the old one needs is there.
    let again = Partition::open(&env(&disk.power_cut(), 1000), id(), old).unwrap();
    assert_eq!(again.handle().checksum().unwrap(), whole);
    partition.checkpoint_is_durable_after(&disk, size);
}

impl Partition {
    /// The disk was cut: only what the log believes can be looked at.
    fn checkpoint_is_durable_after(mut self, disk: &FaultyDisk, size: u64) {
        assert!(disk.is_dead());
        self.checkpoint_is_durable();
        assert!(self.handle().size_bytes() < size / 2, "freed as soon as it may be");
    }
}

#[test]
fn a_trim_never_goes_back_nor_beyond_the_end() {
    let disk = faulty(8);
    let mut partition = new_partition(&disk);
    for n in 0..10 {
        append(&mut partition, n, 1);
    }
    let trim = |partition: &mut Partition, to| {
        partition.apply_trim(Offset::new(to)).unwrap().log_start().get()
    };
    assert_eq!(trim(&mut partition, 6), 6);
    partition.checkpoint().unwrap();
    assert_eq!(trim(&mut partition, 2), 6);
    assert!(!partition.is_dirty());
    assert_eq!(trim(&mut partition, 99), 10);
    assert_eq!(append(&mut partition, 1, 1).base_offset, Offset::new(10));
}

#[test]
fn a_lookup_by_time_stays_between_the_bounds() {
    let disk = faulty(9);
    let mut partition = new_partition(&disk);
    let handle = partition.handle();
    let look = |at| handle.offset_for_timestamp(TimestampMs::new(at)).unwrap();
    assert_eq!(look(0), None, "an empty partition has no offset");
    for time in [500, 100, 200, 300] {
        append(&mut partition, time, 1);
    }
    assert_eq!(look(0), None, "not published");
    partition.publish();
    assert_eq!(look(150), Some((Offset::ZERO, TimestampMs::new(500))));
    assert_eq!(look(501), None, "not the end");
    partition.apply_trim(Offset::new(1)).unwrap();
    partition.publish();
    assert_eq!(look(150), Some((Offset::new(2), TimestampMs::new(200))));
    assert_eq!(look(301), None, "what was trimmed does not count");
}

#[test]
fn a_closed_partition_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let env = PartitionEnv {
        disk: quipu_disk::real(),
        root_dir: scratch.path().to_owned(),
        segment: Config { segment_bytes: 100, ..Config::default() },
    };
    let mut partition = Partition::open(&env, id(), PartitionCheckpoint::default()).unwrap();
    for n in 0..5 {
        append(&mut partition, n, 1);
    }
    partition.checkpoint().unwrap();
    partition.publish();
    let handle = partition.handle();
    let watch = handle.watch();
    assert_eq!(read_all(&handle).len(), 5);
    partition.delete().unwrap();
    assert!(watch.has_changed().is_err());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    let fresh = handle.read(Offset::ZERO, 10).map(|read| read.len());
    assert!(matches!(fresh, Ok(1) | Err(ReadError::Closed)), "{fresh:?}");
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused() {
    let disk = faulty(10);
    let mut leader = new_partition(&disk);
    for n in 0..10 {
        append(&mut leader, n, 1);
    }
    leader.publish();
    let state = leader.checkpoint().unwrap();
    let stored: Vec<ValidatedBatch> = read_all(&leader.handle())
        .into_iter()
        .map(|bytes| ValidatedBatch::parse(bytes).unwrap())
        .collect();
    let install = |partition: &mut Partition, batches: &[ValidatedBatch]| {
        let mut batches = batches.iter().cloned().map(Ok::<_, Infallible>);
        partition.install(state.clone(), &mut batches)
    };
    for wrong in [&stored[1..], &stored[..9], &[stored[0].clone(), stored[2].clone()]] {
        let refused = install(&mut new_partition(&faulty(11)), wrong).unwrap_err();
        assert!(matches!(refused, StorageError::Snapshot { .. }), "{refused}");
    }
    let mut ahead = new_partition(&faulty(12));
    for n in 0..11 {
        append(&mut ahead, n, 1);
    }
    assert!(matches!(install(&mut ahead, &[]), Err(StorageError::Snapshot { .. })));
    let mut failing = std::iter::once(Err::<ValidatedBatch, _>("the stage is gone"));
    let refused = new_partition(&faulty(13)).install(state.clone(), &mut failing).unwrap_err();
    assert!(refused.to_string().contains("the stage is gone"));
    install(&mut new_partition(&faulty(14)), &stored).unwrap();
}
