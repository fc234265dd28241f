//! A look at files without a checkpoint.

use super::*;
use crate::{LogReport, inspect};

fn look(disk: &FaultyDisk) -> LogReport {
    inspect(disk, &dir()).expect("the files can be read")
}

#[test]
fn a_look_finds_what_was_written_and_changes_nothing() {
    let disk = faulty(40);
    let (mut log, model, _) = four_per_segment(&disk, 9);
    log.flush().unwrap();
    drop(log);
    let before = disk.read_dir(&dir()).unwrap();
    let report = look(&disk);
    assert_eq!((report.start, report.end), (Offset::ZERO, model.next()));
    let stored: usize = model.batches.iter().map(|batch| batch.stored.len()).sum();
    assert_eq!((report.segments, report.bytes), (3, u64::try_from(stored).unwrap()));
    assert_eq!((report.damaged, report.torn), (Vec::new(), None));
    assert_eq!(disk.read_dir(&dir()).unwrap(), before);
}

#[test]
fn damage_is_told_from_an_end_that_a_crash_left() {
    let clean = faulty(41);
    let (mut log, model, _) = four_per_segment(&clean, 9);
    log.flush().unwrap();
    drop(log);
    let disk = clean.restart();
    disk.flip_bit(&log_path(4), 3, 0);
    let report = look(&disk);
    let found: Vec<_> = report.damaged.iter().map(|it| (it.file.clone(), it.field)).collect();
    assert_eq!(found, [(log_path(4), "base offset")]);
    assert_eq!(report.torn, None, "the last segment is whole");

    let disk = clean.restart();
    disk.remove_file(&log_path(4)).unwrap();
    let report = look(&disk);
    let found: Vec<_> = report.damaged.iter().map(|it| (it.field, it.expected, it.found)).collect();
    assert_eq!(found, [("end", 8, 4)], "offsets 4 to 8 are in no file");

    let disk = clean.restart();
    let file = disk.open(&log_path(8), quipu_disk::OpenMode::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() - 1).unwrap();
    let report = look(&disk);
    assert_eq!(report.damaged, []);
    assert_eq!(report.torn.map(|torn| torn.position), Some(0));
    assert_eq!(report.end, Offset::new(8));
    assert_eq!(model.next(), Offset::new(9));
}
