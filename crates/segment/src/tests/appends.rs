//! Appending, rolling, reading, trimming.

use super::*;

#[test]
fn what_was_appended_is_read_back_from_memory_and_from_files() {
    let disk = faulty(1);
    let (mut log, model, config) = four_per_segment(&disk, 30);
    assert_holds(&log, &model, Offset::ZERO);
    let end = log.flush().unwrap();
    assert_holds(&log, &model, Offset::ZERO);
    drop(log);
    let log = open(&disk.power_cut(), &config, 0, end);
    assert_holds(&log, &model, Offset::ZERO);
    for from in 0..30 {
        assert_holds(&log, &model, Offset::new(from));
    }
}

#[test]
fn an_empty_log_costs_no_file_and_no_folder() {
    let disk = faulty(2);
    let mut log = open(&disk, &Config::default(), 0, LogEnd::default());
    assert_eq!(log.flush().unwrap(), LogEnd::default());
    assert!(log.reader().read(Offset::ZERO, Offset::ZERO, 100).unwrap().is_empty());
    assert_eq!((disk.mutations(), disk.exists(Path::new("/partitions"))), (0, false));
    log.delete().unwrap();
    assert_eq!(disk.mutations(), 0);
}

#[test]
fn appends_wait_in_memory_and_are_written_with_one_call() {
    let disk = faulty(3);
    let mut log = open(&disk, &Config::default(), 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..50 {
        append(&mut log, model.push(batch(&[n], 100), 1)).unwrap();
    }
    assert_eq!(disk.mutations(), 0);
    assert_holds(&log, &model, Offset::ZERO);
    log.flush().unwrap();
    // A folder tried without a parent, the parent, the folder; file, write; three flushes.
    let first_flush = 3 + 2 + 3;
    assert_eq!(disk.mutations(), first_flush);
    for n in 0..10 {
        append(&mut log, model.push(batch(&[n], 40_000), 1)).unwrap();
    }
    assert!(disk.mutations() > first_flush, "large appends do not pile up");
    assert_holds(&log, &model, Offset::ZERO);
}

#[test]
fn what_is_in_memory_is_read_without_the_disk() {
    let disk = faulty(15);
    let (mut log, model, _) = four_per_segment(&disk, 10);
    let (reader, end) = (log.reader(), model.next());
    disk.set_faults(Faults { read_fails_at: Some(1), ..Faults::default() });
    let read = reader.read_in_memory(Offset::new(8), end, 1000).unwrap();
    assert_eq!(read, [model.batches[8].stored.clone(), model.batches[9].stored.clone()]);
    assert_eq!(reader.read_in_memory(Offset::new(8), Offset::new(9), 1000).unwrap().len(), 1);
    assert_eq!(reader.read_in_memory(Offset::new(7), end, 1000), None, "in a sealed segment");
    assert_eq!(reader.read_in_memory(end, end, 1000), None, "nothing there");
    log.flush().unwrap();
    assert_eq!(reader.read_in_memory(Offset::new(8), end, 1000), None, "in the file now");
}

#[test]
fn no_file_stays_open_for_writing_after_a_flush() {
    let disk = faulty(4);
    let config = Config::default();
    let mut logs: Vec<SegmentLog> = (0..600)
        .map(|n| {
            let disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let dir = PathBuf::from(format!("/p/{n}"));
            SegmentLog::open(disk, dir, config.clone(), Offset::ZERO, LogEnd::default()).unwrap()
        })
        .collect();
    let large = batch(&[1], 300_000);
    for log in &mut logs {
        log.append(Offset::ZERO, LeaderEpoch::new(1), &large, TimestampMs::new(1)).unwrap();
    }
    assert_eq!(config.open_files.writers(), 512, "bounded while appending");
    for log in &mut logs {
        log.flush().unwrap();
    }
    assert_eq!(config.open_files.writers(), 0);
    assert_eq!(config.open_files.tail_bytes(), 0);
}

#[test]
fn memory_of_a_dropped_log_is_given_back() {
    let disk = faulty(5);
    let (log, _, config) = four_per_segment(&disk, 3);
    assert!(config.open_files.tail_bytes() > 0);
    drop(log);
    assert_eq!(config.open_files.tail_bytes(), 0);
}

#[test]
fn a_read_takes_whole_batches_up_to_the_limit_but_at_least_one() {
    let disk = faulty(6);
    let (mut log, model, _) = four_per_segment(&disk, 12);
    for is_flushed in [false, true] {
        if is_flushed {
            log.flush().unwrap();
        }
        let size = model.batches[0].stored.len();
        let reader = log.reader();
        let count = |limit| reader.read(Offset::new(1), Offset::new(9), limit).unwrap().len();
        assert_eq!(count(0), 1, "at least one");
        assert_eq!(count(size), 1);
        assert_eq!(count(2 * size - 1), 1);
        assert_eq!(count(2 * size), 2);
        assert_eq!(count(usize::MAX), 8, "up to the end, across segments");
        assert!(reader.read(Offset::new(9), Offset::new(9), 100).unwrap().is_empty());
    }
}

#[test]
fn the_first_batch_of_a_read_holds_the_offset_asked_for() {
    let disk = faulty(7);
    let mut log = open(&disk, &config(1 << 20, 0), 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..20 {
        append(&mut log, model.push(batch(&[n, n, n], 10), 1)).unwrap();
    }
    log.flush().unwrap();
    for from in 0..60 {
        let from = Offset::new(from);
        let read = log.reader().read(from, model.next(), 1).unwrap();
        assert_eq!(read, [model.range(from, from.plus(1))[0].stored.clone()]);
    }
}

#[test]
fn segments_are_sealed_by_size_and_by_age() {
    let disk = faulty(8);
    let hour = 3_600_000;
    let config =
        Config { segment_age_max: Duration::from_millis(10 * 3_600_000), ..config(1 << 20, 0) };
    let mut log = open(&disk, &config, 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..25 {
        append(&mut log, model.push(batch(&[n * hour], 10), 1)).unwrap();
    }
    let end = log.flush().unwrap();
    let logs = files(&disk).iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!((logs, end.segment), (3, Offset::new(20)), "10 hours each");
    // The age of a segment outlives a restart.
    let mut log = open(&disk.restart(), &config, 0, end);
    for n in 25..30 {
        append(&mut log, model.push(batch(&[n * hour], 10), 1)).unwrap();
        assert_eq!(log.end().segment, Offset::new(20));
    }
    append(&mut log, model.push(batch(&[30 * hour], 10), 1)).unwrap();
    assert_eq!(log.end().segment, Offset::new(30));
    assert_holds(&log, &model, Offset::ZERO);
}

#[test]
fn a_trim_removes_whole_segments_below_and_nothing_else() {
    let disk = faulty(9);
    let (mut log, model, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    let before = log.size_bytes();
    let report = log.trim(Offset::new(6)).unwrap();
    assert_eq!((report.segments, report.bytes), (1, before - log.size_bytes()));
    assert_eq!(log.trim(Offset::new(7)).unwrap().segments, 0);
    assert_holds(&log, &model, Offset::new(4));
    let refused = log.reader().read(Offset::new(3), Offset::new(10), 100).unwrap_err();
    let ReadError::OutOfRange { start, .. } = refused else { panic!("{refused}") };
    assert_eq!(start, Offset::new(4));
    let log = open(&disk.restart(), &config, 7, end);
    assert_holds(&log, &model, Offset::new(4));
}

#[test]
fn a_trim_up_to_the_end_removes_every_file() {
    let disk = faulty(10);
    let (mut log, mut model, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    log.trim(Offset::new(14)).unwrap();
    assert_eq!((log.size_bytes(), files(&disk)), (0, Vec::new()));
    assert_eq!(log.end(), LogEnd { segment: Offset::new(14), bytes: 0, next: Offset::new(14) });
    append(&mut log, model.push(batch(&[1], 10), 9)).unwrap();
    log.flush().unwrap();
    assert_holds(&log, &model, Offset::new(14));
    // The checkpoint from before the trim still opens.
    let log = open(&disk.restart(), &config, 14, end);
    assert_eq!(log.end().next, Offset::new(14));
}

#[test]
fn a_reader_outlives_the_trim_of_what_it_reads() {
    let disk = faulty(11);
    let (mut log, model, _) = four_per_segment(&disk, 14);
    log.flush().unwrap();
    let reader = log.reader();
    let held = reader.read(Offset::ZERO, Offset::new(4), 1000).unwrap();
    log.trim(Offset::new(9)).unwrap();
    assert_eq!(held[0], model.batches[0].stored);
    assert!(matches!(
        reader.read(Offset::ZERO, Offset::new(4), 1000),
        Err(ReadError::OutOfRange { .. })
    ));
    assert!(matches!(
        reader.checksum(Offset::ZERO, Offset::new(14)),
        Err(ReadError::OutOfRange { .. })
    ));
}

#[test]
fn a_reset_continues_elsewhere_and_keeps_the_old_files_until_the_trim() {
    let disk = faulty(12);
    let (mut log, model, config) = four_per_segment(&disk, 14);
    let old_end = log.flush().unwrap();
    log.reset(Offset::new(100));
    let stored = {
        let (base, epoch) = (Offset::new(100), LeaderEpoch::new(7));
        let batch = batch(&[5], 20);
        let bytes = [&batch.stamped_prefix(base, epoch)[..], &batch.bytes()[16..]].concat();
        quipu_types::record::ValidatedBatch::parse(bytes.into()).unwrap()
    };
    log.append_stored(&stored).unwrap();
    let end = log.flush().unwrap();
    let read = log.reader().read(Offset::new(100), Offset::new(101), 10).unwrap();
    assert_eq!(read, [stored.bytes().clone()]);
    assert_holds(&open(&disk.restart(), &config, 0, old_end), &model, Offset::ZERO);
    log.trim(Offset::new(100)).unwrap();
    assert_eq!(files(&disk), ["00000000000000000100.log"]);
    let log = open(&disk.restart(), &config, 100, end);
    let read = log.reader().read(Offset::new(100), Offset::new(101), 10).unwrap();
    assert_eq!(read, [stored.bytes().clone()]);
}

#[test]
fn a_failed_flush_is_never_tried_again() {
    let disk = faulty(13);
    let (mut log, _, _) = four_per_segment(&disk, 3);
    disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
    assert!(matches!(log.flush(), Err(crate::WriteError::Io(_))));
    assert!(matches!(log.flush(), Err(crate::WriteError::Stopped { .. })));
    assert_eq!(disk.syncs(), 1);
    let mut model = Model::default();
    let refused = append(&mut log, model.push(batch(&[1], 1), 1));
    assert!(matches!(refused, Err(crate::WriteError::Stopped { .. })));
}

#[test]
fn a_full_disk_stops_the_log_and_loses_nothing_flushed() {
    let disk = faulty(14);
    let (mut log, model, config) = four_per_segment(&disk, 10);
    let end = log.flush().unwrap();
    disk.set_faults(Faults { capacity_bytes: Some(1200), ..Faults::default() });
    let mut more = model.clone();
    for n in 0..20 {
        if append(&mut log, more.push(batch(&[n], 30), 9)).is_err() {
            break;
        }
    }
    assert!(log.flush().is_err(), "the disk is full");
    assert_holds(&open(&disk.restart(), &config, 0, end), &model, Offset::ZERO);
}
