//! Opening at a checkpoint.

use quipu_disk::OpenMode;

use super::*;

fn cut(disk: &FaultyDisk, path: &Path, bytes: u64) {
    disk.open(path, OpenMode::ReadWrite).unwrap().set_len(bytes).unwrap();
}

#[test]
fn what_no_checkpoint_knows_is_removed() {
    let disk = faulty(20);
    let (mut log, mut model, config) = four_per_segment(&disk, 6);
    let end = log.flush().unwrap();
    let known = model.clone();
    for n in 6..20 {
        append(&mut log, model.push(batch(&[n * 100], 30), 9)).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    let mut log = open(&disk.restart(), &config, 0, end);
    assert_holds(&log, &known, Offset::ZERO);
    // Applied again, rolled at other places.
    let mut again = known;
    for batch in &model.batches[6..] {
        append(&mut log, again.push(batch.batch.clone(), 9)).unwrap();
    }
    assert_holds(&log, &model, Offset::ZERO);
}

#[test]
fn an_index_of_a_longer_segment_from_before_a_crash_is_not_believed() {
    let disk = faulty(21);
    let (mut log, mut model, config) = four_per_segment(&disk, 6);
    let end = log.flush().unwrap();
    let path = dir().join("00000000000000000004.index");
    // Offsets 4 to 7 in one life, 4 and 5 in the next.
    let mut first_life = model.clone();
    for n in 6..10 {
        append(&mut log, first_life.push(batch(&[n * 100], 30), 9)).unwrap();
    }
    let stale = content(&disk, &path);
    drop(log);
    let small = Config { segment_bytes: 110, ..config };
    let mut log = open(&disk, &small, 0, end);
    for n in 6..10 {
        append(&mut log, model.push(batch(&[n * 100], 30), 9)).unwrap();
    }
    let end = log.flush().unwrap();
    drop(log);
    assert_ne!(content(&disk, &path), stale);
    disk.remove_file(&path).unwrap();
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(&stale, 0).unwrap();
    assert_holds(&open(&disk, &small, 0, end), &model, Offset::ZERO);
}

fn content(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn missing_bytes_are_an_error_never_a_shorter_log() {
    let disk = faulty(22);
    let (mut log, _, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    drop(log);
    let missing = |disk: &FaultyDisk, log_start| match try_open(disk, &config, log_start, end) {
        Err(OpenError::MissingBytes { file, .. }) => file,
        Err(OpenError::MissingOffsets { dir, .. }) => dir,
        other => panic!("{other:?}"),
    };
    let active = disk.restart();
    cut(&active, &log_path(12), end.bytes - 1);
    assert_eq!(missing(&active, 0), log_path(12));
    let sealed = disk.restart();
    cut(&sealed, &log_path(4), 100);
    assert_eq!(missing(&sealed, 0), log_path(4));
    for base in [0, 4, 8, 12] {
        let gone = disk.restart();
        gone.remove_file(&log_path(base)).unwrap();
        missing(&gone, 0);
    }
    let first = disk.restart();
    first.remove_file(&log_path(0)).unwrap();
    open(&first, &config, 4, end);
    missing(&first, 3);
}

#[test]
fn a_sealed_segment_without_index_must_reach_the_next_one() {
    let disk = faulty(23);
    let (mut log, model, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    drop(log);
    let one = u64::try_from(model.batches[0].stored.len()).unwrap();
    cut(&disk, &log_path(4), 3 * one);
    disk.remove_file(&dir().join("00000000000000000004.index")).unwrap();
    let refused = try_open(&disk, &config, 0, end).unwrap_err();
    let OpenError::MissingOffsets { start, end, .. } = refused else { panic!("{refused}") };
    assert_eq!((start, end), (Offset::new(7), Offset::new(8)));
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt() {
    let disk = faulty(24);
    let (mut log, model, config) = four_per_segment(&disk, 30);
    let end = log.flush().unwrap();
    drop(log);
    let indexes: Vec<String> = files(&disk);
    let indexes = indexes.iter().filter(|name| name.contains("index"));
    for (n, name) in (0_u64..).zip(indexes.clone()) {
        let path = dir().join(name);
        let bytes = disk.open(&path, OpenMode::Read).unwrap().len().unwrap();
        match n % 3 {
            0 => disk.remove_file(&path).unwrap(),
            1 => disk.flip_bit(&path, n * 7 % bytes, 3),
            _ => cut(&disk, &path, bytes - 1),
        }
    }
    let log = open(&disk, &config, 0, end);
    assert_holds(&log, &model, Offset::ZERO);
    for at in 0..3100 {
        assert_eq!(
            log.reader()
                .offset_for_timestamp(TimestampMs::new(at), Offset::ZERO, end.next)
                .unwrap(),
            model.offset_for_timestamp(at, Offset::ZERO, end.next)
        );
    }
}

#[test]
fn opening_reads_no_batch() {
    let disk = faulty(25);
    let (mut log, mut model, config) = four_per_segment(&disk, 30);
    let end = log.flush().unwrap();
    drop(log);
    // Seven sealed segments: the header of each index, and nothing of the logs.
    disk.set_faults(Faults { read_fails_at: Some(8), ..Faults::default() });
    let mut log = open(&disk, &config, 0, end);
    disk.set_faults(Faults::default());
    append(&mut log, model.push(batch(&[3000], 30), 9)).unwrap();
    assert_holds(&log, &model, Offset::ZERO);
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = faulty(26);
    let (mut log, model, config) = four_per_segment(&disk, 6);
    let end = log.flush().unwrap();
    drop(log);
    let note = dir().join("NOTE");
    disk.open(&note, OpenMode::CreateNew).unwrap();
    let mut log = open(&disk, &config, 0, end);
    assert_holds(&log, &model, Offset::ZERO);
    log.trim(Offset::new(6)).unwrap();
    assert_eq!(files(&disk), ["NOTE"]);
}
