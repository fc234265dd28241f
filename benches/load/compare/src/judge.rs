//! Whether a run counts, and what it says.

use serde::{Deserialize, Serialize};

use crate::cluster::System;
use crate::nemesis;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::quiet::FOREIGN_MOST;
use crate::scenario::{Goal, Metric};
use crate::steering;

const LAG_P99_MS: f64 = 1.0;

/// One run of one step, with everything a report needs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    pub(crate) scenario: String,
    pub(crate) contender: String,
    /// As [`System::slug`] has it.
    pub(crate) system: String,
    pub(crate) version: String,
    pub(crate) step: String,
    pub(crate) run: u32,
    pub(crate) record_bytes: u32,
    pub(crate) partitions: u32,
    /// Milliseconds since 1970 at which servers were killed.
    pub(crate) kills: Vec<u64>,
    /// What speaks against the figures.
    pub(crate) marks: Vec<String>,
    pub(crate) outcome: Outcome,
    /// Beside the results: where histograms are.
    pub(crate) dir: String,
}

/// What speaks against the figures of a run.
///
/// Servers that are killed come back as processes nobody knew before: theirs is no foreign work.
pub(crate) fn marks(
    system: System,
    outcome: &Outcome,
    busy_before: Option<&str>,
    has_kills: bool,
) -> Vec<String> {
    let mut marks: Vec<String> = busy_before.map(str::to_owned).into_iter().collect();
    let usage = &outcome.usage;
    let foreign = usage.foreign_cpu_s / usage.seconds;
    if foreign > FOREIGN_MOST && !has_kills {
        let names: Vec<&str> = usage.foreign.iter().take(3).map(|it| it.name.as_str()).collect();
        let names = names.join(", ");
        marks.push(format!("others used {:.0} % of a processor ({names})", foreign * 100.0));
    }
    let steal = usage.steal_s / usage.seconds;
    if steal > FOREIGN_MOST {
        marks.push(format!("the host took {:.0} % of a processor", steal * 100.0));
    }
    if outcome.is_open_loop && outcome.lag.p99_ms > LAG_P99_MS {
        marks.push(format!("the generator was late: p99 {:.2} ms", outcome.lag.p99_ms));
    }
    if outcome.failed > 0 {
        let (why, _) = outcome.errors.iter().max_by_key(|(_, count)| **count).unzip();
        let why: String = why.map_or("", String::as_str).chars().take(80).collect();
        marks.push(format!("{} records failed: {why}", outcome.failed));
    }
    if !outcome.is_drained {
        marks.push("not everything sent was answered".to_owned());
    }
    if !outcome.is_read {
        let missing = outcome.acked_not_read;
        marks.push(format!("{missing} acknowledged records were not read in time"));
    }
    marks.extend(flush_mark(system, outcome));
    marks
}

/// A record on disk was flushed between its sending and its acknowledgement: one flush can have
/// covered no more than what was on its way.
fn flush_mark(system: System, outcome: &Outcome) -> Option<String> {
    let per_flush = outcome.acks_per_flush();
    if !system.is_durable() || outcome.acked_per_second <= 0.0 {
        return None;
    }
    let Some(per_flush) = per_flush else {
        return Some("no flush was counted: acknowledged records are not on disk".to_owned());
    };
    #[expect(clippy::cast_precision_loss, reason = "records on their way fit a float")]
    let most = outcome.in_flight_most as f64;
    (per_flush > most).then(|| {
        format!(
            "{per_flush:.0} acknowledgements per flush with {most:.0} on their way: not durable"
        )
    })
}

/// A figure of one run; `None` where it was not measured.
pub(crate) fn figure(metric: Metric, sample: &Sample, probe: Option<&Probe>) -> Option<f64> {
    let outcome = &sample.outcome;
    let positive = |value: f64| (value > 0.0).then_some(value);
    match metric {
        Metric::AckedPerSecond => positive(outcome.acked_per_second),
        Metric::PublishP50 => positive(outcome.publish.p50_ms),
        Metric::PublishP99 => positive(outcome.publish.p99_ms),
        Metric::ReadPerSecond => outcome.groups.first().map(|group| group.read_per_second),
        Metric::CaughtUpSeconds => outcome.groups.first()?.caught_up_s,
        Metric::PercentOfLimit => steering::percent_of_limit(sample, probe?),
        Metric::FailoverP99 => {
            let pauses = nemesis::pauses(outcome, &sample.kills);
            quantile(&pauses, 0.99)
        }
    }
}

/// Of sorted values.
#[expect(clippy::cast_precision_loss, reason = "a few values")]
#[expect(clippy::cast_possible_truncation, reason = "an index into the values")]
#[expect(clippy::cast_sign_loss, reason = "an index into the values")]
pub(crate) fn quantile(sorted: &[f64], quantile: f64) -> Option<f64> {
    let at = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied()
}

/// Least, median, most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[half - 1], values[half]),
            _odd => values[half],
        };
        Some(Self { least, median, most })
    }
}

/// How a figure stands to its goal.
pub(crate) fn verdict(goal: Goal, figure: f64) -> &'static str {
    let (must, aim) = match goal {
        Goal::AtLeast(must, aim) => (figure >= must, figure >= aim),
        Goal::AtMost(must, aim) => (figure <= must, figure <= aim),
        Goal::Reported => return "reported",
    };
    match (must, aim) {
        (_, true) => "aim met",
        (true, false) => "must met",
        (false, false) => "not met",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_stand_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values[..3], 0.99), Some(3.0));
        assert_eq!(quantile(&[], 0.99), None);
    }

    #[test]
    fn goals_are_judged_in_their_direction() {
        assert_eq!(verdict(Goal::AtLeast(4.0, 7.0), 5.0), "must met");
        assert_eq!(verdict(Goal::AtLeast(4.0, 7.0), 3.9), "not met");
        assert_eq!(verdict(Goal::AtMost(0.5, 0.3), 0.2), "aim met");
    }
}
