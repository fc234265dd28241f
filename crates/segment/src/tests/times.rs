//! Looking up by time.

use quipu_runtime::Rng;

use super::*;
use crate::test_batch::{for_seeds, random_batch};

#[test]
fn the_first_record_that_is_not_older_is_found_whatever_the_order_of_times() {
    for_seeds(500, |seed| {
        let mut rng = Rng::seeded(seed);
        let disk = faulty(seed);
        let interval = u32::try_from(rng.below(600)).unwrap();
        let config = config(300 + rng.below(2000), interval);
        let mut log = open(&disk, &config, 0, LogEnd::default());
        let mut model = Model::default();
        for n in 0..30 {
            let time = if rng.below(6) == 0 { rng.below(3000) } else { n * 100 };
            let batch = random_batch(&mut rng, i64::try_from(time).unwrap());
            append(&mut log, model.push(batch, 1)).unwrap();
            if rng.below(10) == 0 {
                let end = log.flush().unwrap();
                if rng.below(2) == 0 {
                    log = open(&disk, &config, 0, end);
                }
            }
        }
        for _ in 0..60 {
            let at = i64::try_from(rng.below(3200)).unwrap() - 5;
            let until = Offset::new(rng.below(model.next().get() + 1));
            // The end that readers see lies between two batches.
            let first = model.range(until, model.next()).first();
            let until = first.map_or_else(|| model.next(), |batch| batch.base);
            let from = Offset::new(rng.below(until.get() + 1));
            let found = log.reader().offset_for_timestamp(TimestampMs::new(at), from, until);
            assert_eq!(found.unwrap(), model.offset_for_timestamp(at, from, until), "{at} {from}");
        }
    });
}

#[test]
fn nothing_is_found_when_everything_is_older() {
    let disk = faulty(41);
    let (mut log, model, _) = four_per_segment(&disk, 9);
    let look = |log: &SegmentLog, at| {
        let at = TimestampMs::new(at);
        log.reader().offset_for_timestamp(at, Offset::ZERO, model.next()).unwrap()
    };
    assert_eq!(look(&log, 801), None);
    log.flush().unwrap();
    assert_eq!(look(&log, 801), None);
    assert_eq!(look(&log, 800), Some((Offset::new(8), TimestampMs::new(800))));
    assert_eq!(look(&log, i64::MIN), Some((Offset::ZERO, TimestampMs::new(0))));
}
