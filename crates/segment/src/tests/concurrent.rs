//! Readers beside a writer, on the machine's own file system.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quipu_runtime::Rng;

use super::*;
use crate::test_batch::random_batch;

#[test]
fn readers_see_every_published_batch_while_the_log_rolls_flushes_and_is_trimmed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut rng = Rng::seeded(7);
    let mut model = Model::default();
    for n in 0..3000 {
        model.push(random_batch(&mut rng, n), i32::try_from(n / 500).unwrap());
    }
    let config = config(4000, 300);
    let dir = scratch.path().join("p-0");
    let mut log =
        SegmentLog::open(quipu_disk::real(), dir, config, Offset::ZERO, LogEnd::default()).unwrap();
    let (start, published) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let log = log.reader();
            let (start, published, model, is_over) = (&start, &published, &model, &is_over);
            scope.spawn(move || {
                let mut rng = Rng::seeded(reader);
                let mut reads = 0_u64;
                while !is_over.load(Ordering::Acquire) || reads == 0 {
                    let (low, high) =
                        (start.load(Ordering::Acquire), published.load(Ordering::Acquire));
                    if low >= high {
                        continue;
                    }
                    let from = Offset::new(low + rng.below(high - low));
                    let until = Offset::new(high);
                    match log.read(from, until, 1 + usize::try_from(rng.below(3000)).unwrap()) {
                        Ok(read) => {
                            assert!(!read.is_empty());
                            for (found, expected) in read.iter().zip(model.range(from, until)) {
                                assert_eq!(*found, expected.stored);
                            }
                            reads += 1;
                        }
                        Err(ReadError::OutOfRange { .. }) => {
                            assert!(from < Offset::new(start.load(Ordering::Acquire)));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for (n, batch) in (0_u64..).zip(&model.batches) {
            append(&mut log, batch).unwrap();
            published.store(batch.next.get(), Ordering::Release);
            if n % 97 == 0 {
                log.flush().unwrap();
            }
            if n % 500 == 499 {
                let to = batch.base.get() - 200;
                start.store(to, Ordering::Release);
                log.flush().unwrap();
                log.trim(Offset::new(to)).unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
    });
}
