//! What retention sees of a log.

use super::*;

#[test]
fn segments_are_told_oldest_first_with_the_age_of_their_youngest_record() {
    let disk = faulty(1);
    let (mut log, _model, config) = four_per_segment(&disk, 10);
    let extents = log.reader().extents();
    let told: Vec<(u64, u64, bool)> = extents
        .iter()
        .map(|extent| (extent.base.get(), extent.next.get(), extent.is_sealed))
        .collect();
    assert_eq!(told.last(), Some(&(told[told.len() - 1].0, 10, false)));
    assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].2), "{told:?}");
    assert!(told.len() >= 3, "{told:?}");
    for extent in &extents {
        let youngest = i64::try_from(extent.next.get() - 1).unwrap() * 100;
        assert_eq!(extent.max_timestamp, Some(TimestampMs::new(youngest)));
    }
    assert_eq!(extents.iter().map(|extent| extent.bytes).sum::<u64>(), log.size_bytes());

    // After a start nobody knows how young the growing segment is, until somebody asks.
    let end = log.flush().unwrap();
    drop(log);
    let reader = open(&disk, &config, 0, end).reader();
    assert_eq!(reader.extents().last().unwrap().max_timestamp, None);
    reader.index_growing().unwrap();
    assert_eq!(reader.extents(), extents);
}

#[test]
fn an_empty_log_has_no_segments() {
    let log = open(&faulty(2), &config(1 << 20, 0), 0, LogEnd::default());
    assert_eq!(log.reader().extents(), []);
    log.reader().index_growing().unwrap();
}
