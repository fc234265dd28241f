//! What a seed decides before anything happens.

use std::time::Duration;

use quipu_consensus::Config;
use quipu_disk::Faults;
use quipu_runtime::Rng;

use super::net::Weather;
use crate::commands::{one_in, pick};
use crate::plan::Plan as StoragePlan;

/// Sizes, paces and counts of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u64,
    pub(crate) storage: StoragePlan,
    pub(crate) consensus: Config,
    pub(crate) weather: Weather,
    /// How long clients work while faults strike.
    pub(crate) load: Duration,
    pub(crate) clients: u64,
    /// Between two operations of a client, at most. Unit: milliseconds.
    pub(crate) think_ms: u64,
    /// Between two faults, at most. Unit: milliseconds.
    pub(crate) fault_pause_ms: u64,
    /// Between two checkpoints of a node, at most. Unit: milliseconds.
    pub(crate) checkpoint_ms: u64,
    /// Whether all nodes lose power once more at the end.
    pub(crate) has_last_blackout: bool,
    /// Where replicas move, some of the nodes hold a shard; else all of them do.
    pub(crate) moves: Option<Moves>,
}

/// How replicas move between nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moves {
    /// Between two changes of a shard's record, at most. Unit: milliseconds.
    pub(crate) pause_ms: u64,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let moves = one_in(rng, 2).then(|| Moves { pause_ms: pick(rng, &[300, 1_000, 2_000]) });
        let (nodes, shards, kept): (&[u64], &[u32], &[u64]) = match moves {
            Some(_) => (&[4, 4, 5], &[1, 1, 1, 2], &[4, 8, 24]),
            None => (&[3, 3, 3, 3, 3, 5], &[1, 1, 2, 3], &[4, 8, 24, 4_096]),
        };
        // A node is part of the cluster only once the metadata group has a majority.
        let more_ms = if moves.is_some() { 5_000 } else { 0 };
        let storage = StoragePlan { shards: pick(rng, shards), ..StoragePlan::draw(rng) };
        Self {
            nodes: pick(rng, nodes),
            storage,
            consensus: Config { entries_kept: pick(rng, kept), ..consensus(rng) },
            weather: weather(rng),
            load: Duration::from_millis(more_ms + 3_000 + rng.below(6_000)),
            clients: 1 + rng.below(3),
            think_ms: pick(rng, &[15, 40, 120]),
            fault_pause_ms: pick(rng, &[300, 1_000, 3_000]),
            checkpoint_ms: pick(rng, &[100, 400, 2_000]),
            has_last_blackout: one_in(rng, 2),
            moves,
        }
    }
}

pub(crate) fn consensus(rng: &mut Rng) -> Config {
    let beat = pick(rng, &[100, 200, 300]);
    let election = beat * pick(rng, &[3, 5]);
    Config {
        heartbeat_interval: Duration::from_millis(beat),
        election_timeout_min: Duration::from_millis(election),
        election_timeout_max: Duration::from_millis(election * 2),
        silence_max: Duration::from_millis(beat * pick(rng, &[3, 6])),
        is_failover_fast: !one_in(rng, 3),
        append_timeout: Duration::from_millis(pick(rng, &[500, 2_000])),
        entries_kept: pick(rng, &[4, 8, 24, 4_096]),
        ..Config::default()
    }
}

pub(crate) fn weather(rng: &mut Rng) -> Weather {
    Weather {
        delay_us: pick(rng, &[100, 1_000, 8_000]),
        jitter_us: pick(rng, &[200, 3_000, 20_000]),
        spike_one_in: pick(rng, &[0, 60, 400]),
    }
}

/// What strikes a disk while its node runs.
pub(crate) fn disk_faults(rng: &mut Rng) -> Faults {
    let most = pick(rng, &[5, 40, 300]);
    let at = Some(1 + rng.below(most));
    match rng.below(8) {
        0..5 => Faults { power_cut_at: at, ..Faults::default() },
        5 => Faults { sync_fails_at: at, ..Faults::default() },
        6 => Faults { write_fails_at: at, ..Faults::default() },
        _ => Faults { read_fails_at: at, ..Faults::default() },
    }
}

/// What strikes a disk while its node starts.
pub(crate) fn start_faults(rng: &mut Rng) -> Faults {
    if one_in(rng, 5) { disk_faults(rng) } else { Faults::default() }
}
