//! Flipped bits are told, never served.

use super::*;

/// Reads from each batch on: right bytes, or damage.
fn assert_right_or_damaged(log: &SegmentLog, model: &Model) -> usize {
    let mut damaged = 0;
    for batch in &model.batches {
        match log.reader().read(batch.base, model.next(), 250) {
            Ok(read) => {
                let expected = model.range(batch.base, model.next()).iter();
                for (found, expected) in read.iter().zip(expected) {
                    assert_eq!(*found, expected.stored);
                }
            }
            Err(ReadError::Corruption(_)) => damaged += 1,
            Err(other) => panic!("{other}"),
        }
    }
    damaged
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_noticed() {
    let clean = faulty(30);
    let (mut log, model, config) = four_per_segment(&clean, 9);
    let end = log.flush().unwrap();
    drop(log);
    let bytes: usize = model.batches[..4].iter().map(|batch| batch.stored.len()).sum();
    for at in 0..bytes {
        let disk = clean.restart();
        disk.flip_bit(&log_path(0), at.try_into().unwrap(), u8::try_from(at % 8).unwrap());
        let log = open(&disk, &config, 0, end);
        assert!(assert_right_or_damaged(&log, &model) >= 1, "byte {at}");
        // What lies in other segments is not held up.
        let read = log.reader().read(Offset::new(4), model.next(), 10_000).unwrap();
        assert_eq!(read.len(), 5);
        assert!(log.reader().checksum(Offset::ZERO, model.next()).is_err());
    }
}

#[test]
fn every_flipped_bit_of_an_active_segment_is_noticed_but_in_epochs_of_before_the_start() {
    let clean = faulty(31);
    let (mut log, model, config) = four_per_segment(&clean, 3);
    let end = log.flush().unwrap();
    let length = model.batches[0].stored.len();
    for at in 0..3 * length {
        let is_epoch = (12..16).contains(&(at % length));
        let disk = clean.restart();
        disk.flip_bit(&log_path(0), at.try_into().unwrap(), u8::try_from(at % 8).unwrap());
        if !is_epoch {
            let log = open(&disk, &config, 0, end);
            assert!(assert_right_or_damaged(&log, &model) >= 1, "byte {at}");
        }
    }
    // Known since the append, as long as the process lives.
    clean.flip_bit(&log_path(0), 13, 0);
    assert_eq!(assert_right_or_damaged(&log, &model), 1);
}

#[test]
fn damage_names_file_and_byte() {
    let disk = faulty(32);
    let (mut log, model, _) = four_per_segment(&disk, 9);
    log.flush().unwrap();
    let one = u64::try_from(model.batches[0].stored.len()).unwrap();
    disk.flip_bit(&log_path(4), 2 * one + 70, 1);
    let refused = log.reader().read(Offset::new(6), Offset::new(9), 1000).unwrap_err();
    let ReadError::Corruption(damage) = refused else { panic!("{refused}") };
    assert_eq!((damage.file, damage.position), (log_path(4), 2 * one));
    assert_eq!(damage.field, "checksum");
    assert_ne!(damage.expected, damage.found);
    let read = log.reader().read(Offset::new(4), Offset::new(9), 1000).unwrap();
    assert_eq!(read.len(), 2, "what lies before it is served");
}

#[test]
fn a_damaged_segment_without_index_holds_up_nothing_else() {
    let disk = faulty(33);
    let (mut log, model, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    drop(log);
    disk.remove_file(&dir().join("00000000000000000004.index")).unwrap();
    disk.flip_bit(&log_path(4), 9, 1);
    let log = open(&disk, &config, 0, end);
    assert!(matches!(
        log.reader().read(Offset::new(4), Offset::new(8), 100),
        Err(ReadError::Corruption(_))
    ));
    assert_eq!(log.reader().read(Offset::ZERO, Offset::new(4), 1000).unwrap().len(), 4);
    assert_eq!(log.reader().read(Offset::new(8), model.next(), 1000).unwrap().len(), 6);
}

#[test]
fn a_damaged_active_segment_is_sealed_all_the_same() {
    let disk = faulty(34);
    let (mut log, mut model, config) = four_per_segment(&disk, 2);
    let end = log.flush().unwrap();
    drop(log);
    disk.flip_bit(&log_path(0), 9, 1);
    let mut log = open(&disk, &config, 0, end);
    for n in 2..8 {
        append(&mut log, model.push(batch(&[n * 100], 30), 9)).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(log.reader().read(Offset::new(4), model.next(), 1000).unwrap().len(), 4);
    assert!(matches!(
        log.reader().read(Offset::ZERO, Offset::new(4), 100),
        Err(ReadError::Corruption(_))
    ));
}
