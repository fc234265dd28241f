use quipu_types::{PartitionId, PartitionIndex, TopicId};

use super::*;

fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId::from_bytes([1; 16]), PartitionIndex::new(index))
}

#[test]
fn items_of_one_partition_keep_their_order() {
    let mut queue = FairQueue::default();
    for n in 0..1000 {
        queue.push(partition(n % 3), 1 + usize::try_from(n).unwrap() * 97 % 5000, n);
    }
    let mut last = [None; 3];
    while let Some((_, n)) = queue.pop(usize::MAX) {
        let lane = usize::try_from(n % 3).unwrap();
        assert!(last[lane] < Some(n), "{n} after {:?}", last[lane]);
        last[lane] = Some(n);
    }
    assert_eq!(last, [Some(999), Some(997), Some(998)]);
    assert!(queue.is_empty());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn a_partition_with_large_batches_does_not_crowd_out_one_with_small_ones() {
    let mut queue = FairQueue::default();
    for n in 0..100 {
        queue.push(partition(0), 1 << 20, n);
    }
    for n in 0..100 {
        queue.push(partition(1), 1 << 10, n);
    }
    // All hundred small batches together weigh less than two quanta: they are out before the
    // second large batch.
    let mut large = 0;
    let mut small = 0;
    while small < 100 {
        match queue.pop(usize::MAX).unwrap().0 {
            1024 => small += 1,
            _ => large += 1,
        }
    }
    assert!(large <= 1, "{large} large batches before 100 small ones");
}

#[test]
fn two_busy_partitions_get_the_same_bytes() {
    let mut queue = FairQueue::default();
    for n in 0..2000 {
        queue.push(partition(0), 10_000, n);
        queue.push(partition(1), 1_000, n);
    }
    let mut bytes = [0usize; 2];
    for _ in 0..500 {
        let (size, _) = queue.pop(usize::MAX).unwrap();
        bytes[usize::from(size == 1_000)] += size;
    }
    let difference = bytes[0].abs_diff(bytes[1]);
    assert!(difference <= 2 * QUANTUM, "{bytes:?}");
}

#[test]
fn a_bundle_stops_at_its_bounds_but_always_takes_one() {
    let queue = Queue::new();
    for n in 0..5 {
        queue.push(partition(0), 400, n, usize::MAX).unwrap();
    }
    assert_eq!(queue.take(10, 1000), [0, 1]);
    assert_eq!(queue.take(1, 1000), [2]);
    assert_eq!(queue.take(10, 100), [3], "larger than the bound, but first");
    assert_eq!(queue.take(10, 1000), [4]);
    assert!(queue.take(10, 1000).is_empty());
}

#[test]
fn a_full_or_closed_queue_gives_the_item_back() {
    let queue = Queue::new();
    queue.push(partition(0), 900, 'a', 1000).unwrap();
    assert_eq!(queue.push(partition(0), 200, 'b', 1000), Err(Full::Bytes('b')));
    assert_eq!(queue.close(), ['a']);
    assert_eq!(queue.push(partition(0), 1, 'c', 1000), Err(Full::Closed('c')));
}

#[test]
fn one_item_larger_than_the_bound_fits_an_empty_queue() {
    let queue = Queue::new();
    assert_eq!(queue.push(partition(0), 5000, 'a', 1000), Ok(()));
}
