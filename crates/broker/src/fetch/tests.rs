//! Rounds of a fetch over partitions in memory.

use std::collections::BTreeMap;

use quipu_runtime::Clock;
use quipu_types::record::{BatchBuilder, Record};
use quipu_types::{LeaderEpoch, TimestampMs};

use super::*;

/// A partition whose batches have one record each.
#[derive(Clone)]
struct Fake {
    batches: BTreeMap<u64, Bytes>,
    published: watch::Receiver<Progress>,
}

impl Readable for Fake {
    fn watch(&self) -> watch::Receiver<Progress> {
        self.published.clone()
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Bytes>, FetchError> {
        let end = self.published.borrow().high_watermark().get();
        let mut left = bytes_max;
        let mut read: Vec<Bytes> = Vec::new();
        for batch in self.batches.range(from.get()..end).map(|(_, batch)| batch) {
            if !read.is_empty() && batch.len() > left {
                break;
            }
            left = left.saturating_sub(batch.len());
            read.push(batch.clone());
        }
        Ok(read)
    }
}

fn batch(offset: u64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(TimestampMs::new(1));
    let value = Some(Bytes::from(vec![b'x'; value_bytes]));
    let record = Record { timestamp: TimestampMs::new(1), key: None, value, headers: Vec::new() };
    builder.push(&record).expect("it is small");
    let batch = builder.finish_plain();
    let prefix = batch.stamped_prefix(Offset::new(offset), LeaderEpoch::new(1));
    Bytes::from([&prefix[..], &batch.bytes()[16..]].concat())
}

/// A partition of `count` batches with values of `value_bytes`, and what publishes more of them.
fn partition(count: u64, value_bytes: usize) -> (Fake, watch::Sender<Progress>) {
    let batches = (0..count).map(|offset| (offset, batch(offset, value_bytes))).collect();
    let (sender, published) = watch::channel(bounds(0, count));
    (Fake { batches, published }, sender)
}

fn bounds(log_start: u64, high_watermark: u64) -> Progress {
    Progress::new(Offset::new(log_start), Offset::new(high_watermark))
}

fn fetch(bytes: (usize, usize), first: usize, positions: Vec<(Fake, u64)>) -> Fetch<Fake> {
    let clock = Clock::system();
    let command = FetchCommand {
        positions: Vec::new(),
        bytes_min: bytes.0,
        bytes_max: bytes.1,
        deadline: Deadline::after(&clock, Duration::ZERO),
        first,
    };
    let positions = (0..).zip(positions).map(|(index, (fake, from))| Position {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex::new(index),
        state: Ok(Reader::new(ShardId::new(1), fake, Offset::new(from), usize::MAX)),
    });
    Fetch::new(&command, positions.collect())
}

/// How many batches each partition of the answer has.
fn counts(fetch: Fetch<Fake>) -> Vec<(u32, usize)> {
    let counted = fetch.finish().into_iter().map(|partition| {
        let batches = partition.result.expect("no error").batches.len();
        (partition.partition.get(), batches)
    });
    counted.collect()
}

#[tokio::test]
async fn a_read_stays_within_its_bytes() {
    let (fake, _sender) = partition(10, 1_000);
    let size = fake.batches[&0].len();
    let mut fetch = fetch((1, 3 * size + 1), 0, vec![(fake, 2)]);
    fetch.survey();
    assert!(fetch.has_work());
    fetch.read();
    assert_eq!(fetch.bytes(), 3 * size);
    assert!(fetch.is_done());
    assert_eq!(counts(fetch), [(0, 3)]);
}

#[tokio::test]
async fn one_batch_comes_even_if_it_is_larger_but_only_one() {
    let (large, _first) = partition(3, 5_000);
    let (other, _second) = partition(3, 5_000);
    let mut fetch = fetch((1, 100), 0, vec![(large, 0), (other, 0)]);
    fetch.survey();
    fetch.read();
    assert_eq!(counts(fetch), [(0, 1)]);
}

#[tokio::test]
async fn the_turn_goes_round_so_that_nobody_starves() {
    let (busy, _first) = partition(100, 1_000);
    let (quiet, _second) = partition(1, 1_000);
    let size = busy.batches[&0].len();
    let positions = vec![(busy, 0), (quiet, 0)];
    for (first, expected) in [(0, vec![(0, 2)]), (1, vec![(0, 1), (1, 1)]), (2, vec![(0, 2)])] {
        let mut fetch = fetch((1, 2 * size), first, positions.clone());
        fetch.survey();
        fetch.read();
        assert_eq!(counts(fetch), expected, "first in turn: {first}");
    }
}

#[tokio::test]
async fn rounds_add_up_until_there_is_enough() {
    let (fake, sender) = partition(4, 1_000);
    let size = fake.batches[&0].len();
    sender.send_replace(bounds(0, 1));
    let mut fetch = fetch((3 * size, 10 * size), 0, vec![(fake, 0)]);
    for (high_watermark, is_done) in [(1, false), (2, false), (4, true)] {
        sender.send_replace(bounds(0, high_watermark));
        fetch.survey();
        assert!(fetch.has_work());
        fetch.read();
        assert_eq!(fetch.is_done(), is_done, "up to {high_watermark}");
    }
    let fetched = fetch.finish().remove(0).result.expect("no error");
    let expected: Vec<Bytes> = (0..4).map(|offset| batch(offset, 1_000)).collect();
    assert_eq!(fetched.batches, expected, "each once, in order");
}

#[tokio::test]
async fn a_fetch_whose_next_batch_does_not_fit_waits_no_longer() {
    let (fake, _sender) = partition(4, 1_000);
    let size = fake.batches[&0].len();
    let bytes_max = 2 * size + 10;
    let mut fetch = fetch((bytes_max, bytes_max), 0, vec![(fake, 0)]);
    fetch.survey();
    fetch.read();
    assert!(fetch.is_done(), "there is more, and no room for it");
    assert_eq!(counts(fetch), [(0, 2)]);
}

#[tokio::test]
async fn a_position_at_the_end_waits_and_one_beyond_is_an_error() {
    let (fake, sender) = partition(4, 10);
    let mut waiting = fetch((1, 1 << 20), 0, vec![(fake.clone(), 4)]);
    waiting.survey();
    assert!(!waiting.has_work() && !waiting.is_done());
    assert_eq!(counts(waiting), [], "nothing to tell");

    let mut beyond = fetch((1, 1 << 20), 0, vec![(fake.clone(), 5)]);
    beyond.survey();
    assert!(beyond.is_done());
    let error = beyond.finish().remove(0).result.expect_err("beyond the end");
    let (log_start, high_watermark) = (Offset::ZERO, Offset::new(4));
    let asked = Offset::new(5);
    assert_eq!(error, FetchError::OffsetOutOfRange { asked, log_start, high_watermark });

    sender.send_replace(bounds(3, 4));
    let mut below = fetch((1, 1 << 20), 0, vec![(fake, 2)]);
    below.survey();
    assert!(below.finish().remove(0).result.is_err(), "below the log start");
}

#[tokio::test]
async fn bounds_that_moved_are_told_without_records() {
    let (fake, sender) = partition(4, 10);
    let mut fetch = fetch((1, 1 << 20), 0, vec![(fake, 4)]);
    fetch.survey();
    sender.send_replace(bounds(2, 4));
    fetch.survey();
    let fetched = fetch.finish().remove(0).result.expect("no error");
    assert_eq!((fetched.progress, fetched.batches.len()), (bounds(2, 4), 0));
}

#[test]
fn an_answer_names_an_end_at_or_behind_what_it_holds() {
    let (fake, sender) = partition(4, 10);
    sender.send_replace(bounds(0, 2));
    let mut reader = Reader::new(ShardId::new(1), fake, Offset::ZERO, 1_000);
    reader.survey().expect("it begins at the log's start");
    sender.send_replace(bounds(0, 4));
    reader.read(1_000, true).expect("it is there");
    let fetched = reader.finish().expect("there is news");
    assert_eq!((fetched.batches.len(), fetched.progress), (4, bounds(0, 4)));
}
