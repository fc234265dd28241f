//! A damaged segment takes a sound copy, whatever happens meanwhile, and nothing but one.

use super::*;
use crate::MendError;

/// Three sealed segments of four and one that grows, settled; the second one is damaged.
fn damaged(seed: u64) -> (FaultyDisk, SegmentLog, Model, Config, LogEnd) {
    let disk = faulty(seed);
    let (mut log, model, config) = four_per_segment(&disk, 14);
    let end = log.flush().unwrap();
    log.settle(end);
    disk.flip_bit(&log_path(4), 100, 3);
    (disk, log, model, config, end)
}

/// Gives the segment that holds `at` what the model has of it.
fn mend(log: &SegmentLog, model: &Model, at: u64) -> Result<bool, MendError> {
    let mut mend = log.reader().mend(Offset::new(at))?.expect("it is sealed and settled");
    let (from, until) = mend.missing().expect("nothing is there yet");
    for stored in model.range(from, until) {
        mend.put(&quipu_types::record::ValidatedBatch::parse(stored.stored.clone()).unwrap())?;
    }
    assert_eq!(mend.missing(), None);
    mend.finish()
}

#[test]
fn a_mended_segment_is_what_it_was_and_stays_so() {
    let (disk, log, model, config, end) = damaged(50);
    let reader = log.reader();
    assert!(matches!(reader.checksum(Offset::ZERO, end.next), Err(ReadError::Corruption(_))));
    assert!(mend(&log, &model, 6).unwrap());
    assert_holds(&log, &model, Offset::ZERO);
    assert!(files(&disk).iter().all(|name| !name.ends_with(".rewritten")));
    drop(log);
    let log = open(&disk.power_cut(), &config, 0, end);
    assert_holds(&log, &model, Offset::ZERO);
}

#[test]
fn a_segment_that_was_cut_short_and_has_no_index_is_mended_too() {
    let (disk, log, model, config, end) = damaged(51);
    drop(log);
    for kind in ["index", "timeindex"] {
        disk.remove_file(&dir().join(format!("{:020}.{kind}", 4))).unwrap();
    }
    let file = disk.open(&log_path(4), quipu_disk::OpenMode::ReadWrite).unwrap();
    file.set_len(150).unwrap();
    let log = open(&disk, &config, 0, end);
    assert!(mend(&log, &model, 4).unwrap());
    assert_holds(&log, &model, Offset::ZERO);
    let extent = log.reader().extents()[1];
    assert_eq!(extent.max_timestamp, Some(TimestampMs::new(700)), "known again");
}

#[test]
fn what_is_no_copy_of_it_changes_nothing() {
    let (disk, log, model, ..) = damaged(52);
    let reader = log.reader();
    let batch_at = |at: usize| model.batches[at].batch.clone();
    let stored = |at: usize| {
        let stored = model.batches[at].stored.clone();
        quipu_types::record::ValidatedBatch::parse(stored).unwrap()
    };
    let mut copy = reader.mend(Offset::new(5)).unwrap().unwrap();
    assert!(matches!(copy.put(&stored(5)), Err(MendError::Gap { .. })), "one is left out");
    assert!(matches!(copy.put(&batch_at(4)), Err(MendError::Gap { .. })), "it has no offset");
    copy.put(&stored(4)).unwrap();
    assert!(matches!(copy.put(&stored(4)), Err(MendError::Gap { .. })), "twice");
    assert!(matches!(copy.finish(), Err(MendError::Gap { .. })), "not whole");

    let mut copy = reader.mend(Offset::new(5)).unwrap().unwrap();
    for at in 4..8_u32 {
        let mut bytes = bytes::BytesMut::from(&batch(&[900], 31).bytes()[..]);
        bytes[..8].copy_from_slice(&u64::from(at).to_be_bytes());
        copy.put(&quipu_types::record::ValidatedBatch::parse(bytes.freeze()).unwrap()).unwrap();
    }
    assert!(matches!(copy.finish(), Err(MendError::Size { .. })), "another log");
    assert!(matches!(reader.checksum(Offset::ZERO, model.next()), Err(ReadError::Corruption(_))));
    assert_eq!(reader.read(Offset::ZERO, Offset::new(4), 1000).unwrap().len(), 4);

    assert!(reader.mend(Offset::new(12)).unwrap().is_none(), "it grows");
    assert!(reader.mend(Offset::new(99)).unwrap().is_none(), "there is none");
    // One that was begun and left is no hindrance.
    assert!(mend(&log, &model, 4).unwrap());
    assert_holds(&log, &model, Offset::ZERO);
    drop(disk);
}

#[test]
fn a_segment_that_goes_meanwhile_stays_gone() {
    let (disk, mut log, model, ..) = damaged(53);
    let mut mend = log.reader().mend(Offset::new(4)).unwrap().unwrap();
    for stored in model.range(Offset::new(4), Offset::new(8)) {
        let batch = quipu_types::record::ValidatedBatch::parse(stored.stored.clone());
        mend.put(&batch.unwrap()).unwrap();
    }
    log.trim(Offset::new(8)).unwrap();
    assert!(!mend.finish().unwrap());
    assert!(files(&disk).iter().all(|name| !name.starts_with("00000000000000000004")));
}

/// A power cut at every step of the way: damaged as before, or mended, and mended by the next try.
#[test]
fn a_power_cut_at_any_step_leaves_it_damaged_or_mended() {
    let mut outcomes = [0, 0];
    for step in 1.. {
        let (disk, log, model, config, end) = damaged(54 + step);
        disk.set_faults(Faults { power_cut_at: Some(step), ..Faults::default() });
        let done = mend(&log, &model, 4);
        drop(log);
        let is_over = !disk.is_dead();
        let disk = disk.power_cut();
        let log = open(&disk, &config, 0, end);
        match log.reader().checksum(Offset::ZERO, model.next()) {
            Ok(sum) => {
                assert_eq!(sum, model.checksum(Offset::ZERO, model.next()));
                outcomes[1] += 1;
            }
            Err(ReadError::Corruption(_)) => outcomes[0] += 1,
            Err(other) => panic!("{other}"),
        }
        if is_over {
            assert!(done.unwrap());
            break;
        }
        log.settle(end);
        assert!(mend(&log, &model, 4).unwrap(), "step {step}");
        assert_holds(&log, &model, Offset::ZERO);
    }
    assert!(outcomes.iter().all(|count| *count > 1), "{outcomes:?}");
}
