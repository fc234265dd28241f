//! What was measured, as JSON and histograms.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::book::{Book, Closed, Group};
use crate::gaps::Gap;
use crate::latency::{Latency, Summary, milliseconds};
use crate::machine::Usage;
use crate::plan::{Mode, Plan};
use crate::series::Second;

/// The result of a run. Absent figures were not measured.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    plan: Plan,
    /// Of the latencies: an open loop's are latencies under load, a closed loop's are not.
    is_open_loop: bool,
    started_unix_ms: u64,
    sent: u64,
    acked: u64,
    failed: u64,
    errors: BTreeMap<String, u64>,
    /// Everything on its way was answered in time.
    pub(crate) is_drained: bool,
    /// Everything acknowledged was read in time.
    pub(crate) is_read: bool,
    /// Loss, when readers had the time.
    acked_not_read: u64,
    in_flight_most: usize,
    acked_per_second: f64,
    acked_mb_per_second: f64,
    /// From when a record was due to its acknowledgement.
    publish: Summary,
    /// How late the generator was by itself.
    lag: Summary,
    groups: Vec<Read>,
    usage: Usage,
    gaps: Vec<Gap>,
    series: Vec<Second>,
    #[serde(skip)]
    histograms: Vec<(String, Latency)>,
}

/// One group of readers.
#[derive(Debug, Serialize)]
struct Read {
    read: u64,
    read_per_second: f64,
    read_mb_per_second: f64,
    duplicates: u64,
    /// Of what was in the topic before.
    earlier: u64,
    /// Seconds until everything written so far was read.
    caught_up_s: Option<f64>,
    /// From when a record was due to the reader.
    end_to_end: Summary,
}

impl Outcome {
    pub(crate) fn of(plan: &Plan, book: &Book, usage: Usage) -> Self {
        let closed = book.close(plan);
        let Closed { counts, .. } = closed;
        // Reading takes as long as it takes; the window is for sending.
        let reads = plan.mode == Mode::Read;
        let window = if reads { usage.seconds } else { window_seconds(book) };
        let mut histograms = Vec::new();
        let mut groups = Vec::new();
        for (number, group) in (0..).zip(closed.groups) {
            groups.push(Read::of(&group, plan, window));
            histograms.push((format!("end-to-end-{number}"), group.latency));
        }
        let acked_per_second = rate(counts.acked_in_window, window);
        let outcome = Self {
            plan: plan.clone(),
            is_open_loop: plan.mode == Mode::Open,
            started_unix_ms: book.unix_ms(),
            sent: counts.sent,
            acked: counts.acked,
            failed: counts.failed,
            errors: closed.errors,
            is_drained: false,
            is_read: false,
            acked_not_read: closed.acked_not_read,
            in_flight_most: closed.in_flight_most,
            acked_per_second,
            acked_mb_per_second: megabytes(acked_per_second, plan.record_bytes),
            publish: closed.publish.summary(),
            lag: closed.lag.summary(),
            groups,
            usage,
            gaps: closed.gaps,
            series: closed.series,
            histograms: Vec::new(),
        };
        histograms.push(("publish".to_owned(), closed.publish));
        histograms.push(("lag".to_owned(), closed.lag));
        Self { histograms, ..outcome }
    }

    /// Writes `outcome.json` and the histograms.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        for (name, latency) in &self.histograms {
            latency.write(dir, name)?;
        }
        let path = dir.join("outcome.json");
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

impl Read {
    fn of(group: &Group, plan: &Plan, window: f64) -> Self {
        let counted = if plan.mode == Mode::Read { group.read } else { group.read_in_window };
        let read_per_second = rate(counted, window);
        Self {
            read: group.read,
            read_per_second,
            read_mb_per_second: megabytes(read_per_second, plan.record_bytes),
            duplicates: group.duplicates,
            earlier: group.earlier,
            caught_up_s: group.caught_up.map(|at| milliseconds(at) / 1e3),
            end_to_end: group.latency.summary(),
        }
    }
}

fn window_seconds(book: &Book) -> f64 {
    milliseconds(book.window().end - book.window().start) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run fit a float")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "sizes of records fit a float")]
fn megabytes(per_second: f64, record_bytes: usize) -> f64 {
    per_second * record_bytes as f64 / 1e6
}
