//! What a seed decides before anything happens.

use quipu_disk::Faults;
use quipu_journal::{Config, FlushPolicy};
use quipu_runtime::Rng;
use quipu_segment::OpenFiles;

use crate::commands::{one_in, pick};

/// Sizes and counts of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) journal: Config,
    pub(crate) segment_bytes: u64,
    pub(crate) index_interval_bytes: u32,
    /// Segment files open for writing at once, over all logs.
    pub(crate) writers_max: usize,
    pub(crate) shards: u32,
    pub(crate) lives: u64,
    pub(crate) steps_max: u64,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let journal = Config {
            file_bytes: pick(rng, &[4 << 10, 8 << 10, 24 << 10]),
            recycled_files_max: pick(rng, &[0, 1, 2]),
            tail_bytes_max: pick(rng, &[0, 4_000, 1 << 20]),
            flush: FlushPolicy::Always,
        };
        Self {
            journal,
            segment_bytes: pick(rng, &[700, 5_000, 64 << 10]),
            index_interval_bytes: pick(rng, &[0, 300, 16 << 10]),
            writers_max: pick(rng, &[1, 512]),
            shards: pick(rng, &[1, 1, 2]),
            lives: 2 + rng.below(4),
            steps_max: pick(rng, &[15, 60, 150, 300]),
        }
    }

    /// Settings of the partitions' logs, with open files of their own.
    pub(crate) fn segment(&self) -> quipu_segment::Config {
        quipu_segment::Config {
            segment_bytes: self.segment_bytes,
            index_interval_bytes: self.index_interval_bytes,
            open_files: OpenFiles::new(self.writers_max),
            ..quipu_segment::Config::default()
        }
    }
}

/// What strikes while the node runs.
pub(crate) fn faults_of_a_life(rng: &mut Rng) -> Faults {
    let most = pick(rng, &[20, 150, 1_000]);
    let at = Some(1 + rng.below(most));
    match rng.below(12) {
        0..5 => Faults { power_cut_at: at, ..Faults::default() },
        5 => Faults { sync_fails_at: at, ..Faults::default() },
        6 => Faults { write_fails_at: at, ..Faults::default() },
        7 => Faults { read_fails_at: at, ..Faults::default() },
        8 => {
            let capacity_bytes = Some((32 << 10) + rng.below(128 << 10));
            Faults { capacity_bytes, ..Faults::default() }
        }
        _ => Faults::default(),
    }
}

/// What strikes while the node starts.
pub(crate) fn faults_of_a_start(rng: &mut Rng) -> Faults {
    let at = Some(1 + rng.below(16));
    match rng.below(12) {
        0..3 => Faults { power_cut_at: at, ..Faults::default() },
        3 => Faults { sync_fails_at: at, ..Faults::default() },
        4 => Faults { write_fails_at: at, ..Faults::default() },
        5 if one_in(rng, 2) => Faults { read_fails_at: at, ..Faults::default() },
        _ => Faults::default(),
    }
}
