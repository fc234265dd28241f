//! Appends that are written past the page cache, and what stays in memory of them.

use quipu_runtime::Rng;

use super::*;
use crate::test_batch::for_seeds;

/// As many bytes as a log collects before it writes, more or less.
const MANY: u64 = 300_000;

#[test]
fn whole_pages_and_what_is_between_them_arrive_on_a_machines_disk() {
    for_seeds(6, |seed| {
        let mut rng = Rng::seeded(seed);
        let folder = tempfile::tempdir().unwrap();
        let (disk, dir) = (quipu_disk::real(), folder.path().join("p-0"));
        let config = config(3_000_000, 4096);
        let reopen = |end: LogEnd| {
            let (disk, dir) = (Arc::clone(&disk), dir.clone());
            SegmentLog::open(disk, dir, config.clone(), Offset::ZERO, end).unwrap()
        };
        let (mut log, mut model) = (reopen(LogEnd::default()), Model::default());
        for n in 0..120 {
            let bytes = if rng.below(3) == 0 { rng.below(MANY) } else { rng.below(9_000) };
            let batch = batch(&[n], usize::try_from(bytes).unwrap());
            append(&mut log, model.push(batch, 1)).unwrap();
            if rng.below(9) == 0 {
                let end = log.flush().unwrap();
                if rng.below(2) == 0 {
                    drop(log);
                    log = reopen(end);
                }
            }
            let last = model.batches.len() - 1;
            let from = model.batches[last.saturating_sub(20)].base;
            assert_holds(&log, &model, from);
        }
        let end = log.flush().unwrap();
        assert_holds(&log, &model, Offset::ZERO);
        assert_holds(&reopen(end), &model, Offset::ZERO);
        let path = dir.join(format!("{:020}.log", end.segment.get()));
        assert_eq!(std::fs::metadata(path).unwrap().len(), end.bytes, "nothing behind the end");
    });
}

#[test]
fn what_was_just_written_is_read_without_the_disk_until_a_flush() {
    let disk = faulty(1);
    let config = Config::default();
    let files = &config.open_files;
    let mut log = open(&disk, &config, 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..20 {
        append(&mut log, model.push(batch(&[n], 100_000), 1)).unwrap();
    }
    let written = disk.mutations();
    assert!(written > 3, "it was written meanwhile");
    let end = model.next();
    let in_memory = |log: &SegmentLog| {
        log.reader().read_in_memory(Offset::ZERO, end, usize::MAX).map(|found| found.len())
    };
    disk.set_faults(Faults { read_fails_at: Some(1), ..Faults::default() });
    assert_eq!(in_memory(&log), Some(20));
    assert!(files.kept_bytes() > 1_500_000);
    log.flush().unwrap();
    assert_eq!((in_memory(&log), files.kept_bytes()), (None, 0));
    append(&mut log, model.push(batch(&[20], 400_000), 1)).unwrap();
    assert!(files.kept_bytes() > 0 || files.tail_bytes() > 0);
    drop(log);
    assert_eq!((files.kept_bytes(), files.tail_bytes()), (0, 0), "memory is given back");
}

#[test]
fn memory_for_what_is_written_has_a_bound() {
    let disk = faulty(2);
    let config = Config::default();
    let mut log = open(&disk, &config, 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..60 {
        append(&mut log, model.push(batch(&[n], 400_000), 1)).unwrap();
    }
    let kept = config.open_files.kept_bytes();
    assert!((4_000_000..=8 << 20).contains(&kept), "{kept}");
    assert_holds(&log, &model, Offset::ZERO);
}
