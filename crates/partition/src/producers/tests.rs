use quipu_types::LeaderEpoch;

use super::*;

/// What a batch looks like to the table.
fn header(id: i64, epoch: i16, sequence: i32, record_count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        batch_length: 0,
        leader_epoch: LeaderEpoch::new(-1),
        crc: 0,
        attributes: 0,
        last_offset_delta: record_count - 1,
        base_timestamp: TimestampMs::new(0),
        max_timestamp: TimestampMs::new(i64::from(sequence)),
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
        record_count,
    }
}

/// A table that appends what it accepts at the next free offset.
struct Table {
    producers: Producers,
    next: u64,
}

impl Table {
    fn new(kept_max: usize) -> Self {
        Self { producers: Producers::with_max(kept_max), next: 0 }
    }

    /// The offset of a new batch, or of the one before.
    fn apply(
        &mut self,
        id: i64,
        epoch: i16,
        sequence: i32,
        count: i32,
    ) -> Result<(&'static str, u64), AppendRefused> {
        let header = header(id, epoch, sequence, count);
        match self.producers.check(&header)? {
            Verdict::Duplicate(before) => Ok(("again", before.base_offset.get())),
            Verdict::Append => {
                let base = self.next;
                self.next += u64::try_from(count).unwrap();
                self.producers.record(&header, Offset::new(base));
                Ok(("new", base))
            }
        }
    }
}

fn out_of_order(expected: i32, found: i32) -> AppendRefused {
    let (expected, found) = (Sequence::new(expected), Sequence::new(found));
    AppendRefused::OutOfOrderSequence { expected, found }
}

#[test]
fn a_retry_of_one_of_the_last_five_batches_gets_its_first_offset() {
    let mut table = Table::new(10);
    for n in 0..6 {
        assert_eq!(table.apply(7, 0, n * 10, 10), Ok(("new", u64::try_from(n).unwrap() * 10)));
    }
    for n in 1..6 {
        assert_eq!(table.apply(7, 0, n * 10, 10), Ok(("again", u64::try_from(n).unwrap() * 10)));
    }
    assert_eq!(table.apply(7, 0, 0, 10), Err(AppendRefused::DuplicateSequence), "the sixth last");
    assert_eq!(table.apply(7, 0, 60, 10), Ok(("new", 60)), "retries changed nothing");
}

#[test]
fn gaps_and_overlaps_are_out_of_order() {
    let mut table = Table::new(10);
    table.apply(7, 0, 0, 10).unwrap();
    assert_eq!(table.apply(7, 0, 11, 1), Err(out_of_order(10, 11)), "a gap");
    assert_eq!(table.apply(7, 0, 5, 10), Err(out_of_order(10, 5)), "half of it is new");
    assert_eq!(table.apply(7, 0, 0, 11), Err(out_of_order(10, 0)), "one of it is new");
    assert_eq!(
        table.apply(7, 0, 3, 4),
        Err(AppendRefused::DuplicateSequence),
        "all of it is there, in a larger batch"
    );
    assert_eq!(table.apply(7, 0, 10, 1), Ok(("new", 10)));
}

#[test]
fn an_unknown_producer_starts_at_sequence_zero() {
    let mut table = Table::new(10);
    assert_eq!(table.apply(7, 3, 1, 1), Err(AppendRefused::UnknownProducer));
    assert_eq!(table.apply(7, 3, 0, 1), Ok(("new", 0)), "with any epoch");
}

#[test]
fn a_higher_epoch_fences_the_lower_and_starts_at_sequence_zero() {
    let mut table = Table::new(10);
    table.apply(7, 1, 0, 5).unwrap();
    assert_eq!(table.apply(7, 2, 5, 1), Err(out_of_order(0, 5)));
    assert_eq!(table.apply(7, 1, 5, 1), Ok(("new", 5)), "a refusal fences nobody");
    assert_eq!(table.apply(7, 2, 0, 5), Ok(("new", 6)), "not taken for the first batch of epoch 1");
    let fenced = AppendRefused::ProducerFenced { current: ProducerEpoch::new(2) };
    for sequence in [0, 5, 6, 99] {
        assert_eq!(table.apply(7, 1, sequence, 5), Err(fenced));
    }
    assert_eq!(table.apply(7, 2, 5, 1), Ok(("new", 11)));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut table = Table::new(10);
    let last = KeptBatch {
        base_sequence: Sequence::new(i32::MAX - 4),
        record_count: 3,
        base_offset: Offset::new(10),
        max_timestamp: TimestampMs::new(0),
    };
    let producer = Producer { epoch: ProducerEpoch::new(0), batches: [last].into() };
    table.producers.restore(ProducerId::new(7), producer).unwrap();
    table.next = 13;
    assert_eq!(table.apply(7, 0, i32::MAX, 1), Err(out_of_order(i32::MAX - 1, i32::MAX)));
    assert_eq!(table.apply(7, 0, i32::MAX - 1, 5), Ok(("new", 13)), "two before, three after");
    assert_eq!(table.apply(7, 0, 4, 1), Err(out_of_order(3, 4)));
    assert_eq!(table.apply(7, 0, 3, 2), Ok(("new", 18)));
    assert_eq!(table.apply(7, 0, i32::MAX - 1, 5), Ok(("again", 13)));
    assert_eq!(table.apply(7, 0, i32::MAX - 4, 3), Ok(("again", 10)));
    assert_eq!(table.apply(7, 0, i32::MAX - 9, 3), Err(AppendRefused::DuplicateSequence));
    for n in 0..5 {
        table.apply(7, 0, 5 + n, 1).unwrap();
    }
    assert_eq!(table.apply(7, 0, i32::MAX - 1, 5), Err(AppendRefused::DuplicateSequence));
}

#[test]
fn producers_do_not_see_each_other() {
    let mut table = Table::new(10);
    for n in 0..20 {
        for id in 0..3 {
            assert!(matches!(table.apply(id, 0, n, 1), Ok(("new", _))));
        }
    }
    assert_eq!(table.apply(1, 0, 19, 1), Ok(("again", 58)));
}

#[test]
fn the_producer_that_was_silent_longest_is_forgotten() {
    let mut table = Table::new(3);
    for id in [5, 9, 1] {
        table.apply(id, 0, 0, 1).unwrap();
    }
    table.apply(5, 0, 1, 1).unwrap();
    table.apply(2, 0, 0, 1).unwrap();
    let kept: Vec<i64> = table.producers.iter().map(|(id, _)| id.get()).collect();
    assert_eq!(kept, [1, 2, 5]);
    assert_eq!(table.apply(9, 0, 1, 1), Err(AppendRefused::UnknownProducer), "said, not guessed");
    assert_eq!(table.apply(5, 0, 2, 1), Ok(("new", 5)));
    // A retry is no sign of life: it is not in the log, so a replica that replays it may not count
    // it either.
    table.apply(1, 0, 0, 1).unwrap();
    table.apply(3, 0, 0, 1).unwrap();
    assert_eq!(table.apply(1, 0, 1, 1), Err(AppendRefused::UnknownProducer));
}

#[test]
fn batches_without_producer_are_always_new() {
    let mut table = Table::new(1);
    for _ in 0..3 {
        assert!(matches!(table.apply(-1, -1, -1, 1), Ok(("new", _))));
    }
    assert_eq!(table.producers.iter().len(), 0);
}

#[test]
fn the_table_is_bounded() {
    let mut table = Table::new(limits::PARTITION_PRODUCERS_MAX);
    for id in 0..i64::try_from(limits::PARTITION_PRODUCERS_MAX).unwrap() + 100 {
        table.apply(id, 0, 0, 1).unwrap();
    }
    assert_eq!(table.producers.iter().len(), limits::PARTITION_PRODUCERS_MAX);
    assert_eq!(table.producers.by_last_offset.len(), limits::PARTITION_PRODUCERS_MAX);
    assert_eq!(table.apply(99, 0, 0, 1).map(|(what, _)| what), Ok("new"), "forgotten");
    assert_eq!(table.apply(101, 0, 0, 1).map(|(what, _)| what), Ok("again"), "kept");
}
