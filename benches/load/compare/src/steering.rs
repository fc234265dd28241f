//! The numbers that steer Quipu's work: K, what a replicated batch costs whatever its size; k,
//! what each of its bytes costs; how much a flush takes to the disk; how close it all is to what
//! the machine can do.
//!
//! The model is PERFORMANCE §3: a batch of B bytes takes `k*B + K`, so that two cores make
//! `X_cpu(B) = 2e9 * B / (k*B + K)` bytes per second; the disk makes `X_disk(F) = D(F) / (3*W)`
//! with flushes of F bytes and W writes per byte. K and k are fitted to what the servers took; the
//! limit takes the costs of the machine's primitives in their place, and nothing for software.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::judge::Sample;
use crate::probe::Probe;

const BUNDLED: &str = "quipu_shard_bundle_commands_sum";
const BUNDLES: &str = "quipu_shard_bundle_commands_count";
const FLUSHES: &str = "quipu_journal_flushes_total";
const JOURNAL_BYTES: &str = "quipu_journal_bytes_total";
const SEGMENT_BYTES: &str = "quipu_segment_written_bytes_total";
const REPLICAS: f64 = 3.0;
/// Messages of a batch: produce and its answer, two appends and theirs, two commit indexes, a
/// fetch and its answer.
const MESSAGES: f64 = 10.0;

/// What Quipu's own metrics say of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Work {
    pub(crate) batches: f64,
    pub(crate) payload_bytes: f64,
    /// B: payload of a batch.
    pub(crate) batch_bytes: f64,
    pub(crate) batches_per_bundle: f64,
    /// F: bytes a flush of one node takes along.
    pub(crate) flush_bytes: f64,
    pub(crate) flushes_per_second: f64,
    /// W: bytes written on a node for a byte of payload.
    pub(crate) writes_per_byte: f64,
    /// Batches of all nodes for each flush.
    pub(crate) batches_per_flush: f64,
    pub(crate) cpu_us_per_batch: f64,
}

/// Fixed cost per batch and cost per byte, of the servers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Costs {
    /// K, in microseconds.
    pub(crate) per_batch_us: f64,
    /// k, in nanoseconds.
    pub(crate) per_byte_ns: f64,
}

/// What the machine allows, in bytes per second of payload.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Limits {
    pub(crate) cpu: f64,
    pub(crate) disk: f64,
}

/// `None` for runs without these metrics, as of other systems.
pub(crate) fn work(sample: &Sample) -> Option<Work> {
    let outcome = &sample.outcome;
    let metrics: &BTreeMap<String, f64> = &outcome.usage.metrics;
    let of = |name: &str| metrics.get(name).copied().filter(|value| *value > 0.0);
    let (batches, bundles, flushes) = (of(BUNDLED)?, of(BUNDLES)?, of(FLUSHES)?);
    let journal = of(JOURNAL_BYTES)?;
    let payload_bytes = outcome.acked_mb_per_second * 1e6 * outcome.usage.seconds;
    if payload_bytes <= 0.0 {
        return None;
    }
    let written = journal + of(SEGMENT_BYTES).unwrap_or(0.0);
    Some(Work {
        batches,
        payload_bytes,
        batch_bytes: payload_bytes / batches,
        batches_per_bundle: batches / bundles,
        flush_bytes: journal / flushes,
        flushes_per_second: flushes / outcome.usage.seconds,
        writes_per_byte: written / (REPLICAS * payload_bytes),
        batches_per_flush: REPLICAS * batches / flushes,
        cpu_us_per_batch: outcome.usage.server_cpu_s / batches * 1e6,
    })
}

/// Whether the servers had all they could do: costs and limits say nothing of a server that waits.
fn is_saturated(sample: &Sample) -> bool {
    !sample.outcome.is_open_loop && sample.outcome.in_flight_most > 1
}

/// Least squares over runs whose batches differ; `None` when they do not.
pub(crate) fn costs(samples: &[&Sample]) -> Option<Costs> {
    let points: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| is_saturated(sample))
        .filter_map(|sample| work(sample))
        .map(|work| (work.batch_bytes, work.cpu_us_per_batch * 1e3))
        .collect();
    let least = points.iter().map(|(bytes, _)| *bytes).min_by(f64::total_cmp)?;
    let most = points.iter().map(|(bytes, _)| *bytes).max_by(f64::total_cmp)?;
    if most < 2.0 * least {
        return None;
    }
    // Relative errors count, or the large batches alone would decide.
    let mut sums = [0.0; 5];
    for (bytes, cost) in points {
        let weight = 1.0 / (cost * cost);
        let terms = [1.0, bytes, cost, bytes * bytes, bytes * cost];
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += weight * term;
        }
    }
    let [count, x, y, xx, xy] = sums;
    let slope = (count * xy - x * y) / (count * xx - x * x);
    let fixed = (y - slope * x) / count;
    Some(Costs { per_batch_us: fixed / 1e3, per_byte_ns: slope })
}

/// What the primitives of this machine would allow with the batches and flushes of a run.
pub(crate) fn limits(sample: &Sample, probe: &Probe) -> Option<Limits> {
    let work = work(sample)?;
    let readers = f64::from(u32::try_from(sample.outcome.groups.len()).ok()?);
    let (flush_ns, flush_ns_per_byte) = probe.flush_cost();
    let copies = (work.writes_per_byte - 1.0).max(0.0);
    let per_byte = probe.tcp_ns_per_byte * (REPLICAS + readers)
        + probe.crc_ns_per_byte * (REPLICAS + 1.0 + readers)
        + REPLICAS * flush_ns_per_byte
        + REPLICAS * copies * probe.copy_ns_per_byte;
    let per_batch = MESSAGES * probe.message_ns + REPLICAS * flush_ns / work.batches_per_flush;
    let cores = f64::from(u32::try_from(probe.cores).ok()?);
    let cpu = cores * 1e9 * work.batch_bytes / (per_byte * work.batch_bytes + per_batch);
    let disk = probe.durable_rate(work.flush_bytes)? / (REPLICAS * work.writes_per_byte);
    Some(Limits { cpu, disk })
}

/// Throughput of a run against the lower of the limits.
pub(crate) fn percent_of_limit(sample: &Sample, probe: &Probe) -> Option<f64> {
    let limits = limits(sample, probe).filter(|_| is_saturated(sample))?;
    Some(sample.outcome.acked_mb_per_second * 1e6 / limits.cpu.min(limits.disk) * 100.0)
}
