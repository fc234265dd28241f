//! The state of a partition, and what it continues with.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_partition::{Partition, PartitionCheckpoint, PartitionEnv};
use quipu_types::{LeaderEpoch, Offset, limits};

use crate::input::{also_resealed, disk};
use crate::{Seed, Verdict, reseal, samples};

/// Offsets above are out of reach: a partition would need centuries.
const OFFSET_MAX: u64 = 1 << 62;

pub(crate) fn run(input: &[u8]) -> Verdict {
    also_resealed(input, reseal::trailer, check)
}

fn check(bytes: &[u8]) -> Verdict {
    let state = match PartitionCheckpoint::decode(bytes) {
        Ok(state) => state,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return Verdict::Refused;
        }
    };
    let written = state.encode();
    assert_eq!(PartitionCheckpoint::decode(&written).as_ref(), Ok(&state));
    assert_eq!(written.len(), bytes.len(), "nothing is left out");
    assert!(state.producer_count() <= limits::PARTITION_PRODUCERS_MAX);
    assert_eq!(state.progress().high_watermark(), state.log_end().next);
    continues(state);
    Verdict::Accepted
}

fn env() -> PartitionEnv {
    PartitionEnv {
        disk: Arc::new(disk()),
        root_dir: PathBuf::from("/partitions"),
        segment: quipu_segment::Config::default(),
    }
}

/// A partition whose records are all trimmed opens without files, and goes on.
fn continues(state: PartitionCheckpoint) {
    let progress = state.progress();
    let Ok(mut partition) = Partition::open(&env(), samples::partition(0), state) else {
        assert!(progress.log_start() < progress.high_watermark(), "nothing is missing");
        return;
    };
    if progress.high_watermark() > Offset::new(OFFSET_MAX) {
        return;
    }
    for (id, sequence) in [(9, 0), (9, 2), (4, i32::MAX), (9, 0)] {
        let batch = samples::from_producer(id, sequence, 2);
        let applied = partition.apply_append(LeaderEpoch::new(1), &batch);
        let _refused = applied.expect("a disk without faults");
    }
    partition.publish();
    let after = partition.checkpoint().expect("a disk without faults");
    assert!(after.progress().high_watermark() >= progress.high_watermark());
    assert_eq!(PartitionCheckpoint::decode(&after.encode()), Ok(after));
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut partition =
        Partition::open(&env(), samples::partition(0), PartitionCheckpoint::default())
            .expect("a new partition");
    let mut checkpoint = |producers: i64, trimmed: u64| {
        for id in 0..producers {
            for sequence in 0..2 {
                let batch = samples::from_producer(id, sequence, 1);
                let applied = partition.apply_append(LeaderEpoch::new(1), &batch);
                assert!(applied.expect("a disk without faults").is_ok());
            }
        }
        partition.apply_trim(Offset::new(trimmed)).expect("nothing to fail");
        partition.checkpoint().expect("a disk without faults").encode().to_vec()
    };
    vec![
        ("ok-new", PartitionCheckpoint::default().encode().to_vec()),
        ("ok-producers", checkpoint(3, 2)),
        ("ok-trimmed", checkpoint(5, u64::MAX)),
    ]
}
