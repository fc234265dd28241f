//! Appends go on while a majority is healthy.

use super::Anomaly;
use super::family::{Completed, Family};
use super::finding::Findings;
use super::run::{Course, Run};
use crate::history::{Outcome, Phase, Stage};

/// Appends go on while a majority is healthy.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    acked_at: Vec<u64>,
}

impl Family for Progress {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, _out: &mut Findings) {
        if let Some(Outcome::Appended { offset: Some(_) }) = op.answer.ok() {
            self.acked_at.push(op.done.at);
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        let width = run.limits.window_ms.saturating_mul(1_000_000);
        let (Some(load), Some(end)) = (run.course.began(Phase::Load), end_of_load(&run.course))
        else {
            return;
        };
        if width == 0 {
            return;
        }
        let outages = outages(&run.course, run.limits.heal_ms.saturating_mul(1_000_000));
        let mut start = load.at;
        while start.saturating_add(width) <= end {
            let window = (start, start + width);
            let is_out = outages.iter().any(|(from, to)| *from < window.1 && window.0 < *to);
            let from = self.acked_at.partition_point(|at| *at < window.0);
            let to = self.acked_at.partition_point(|at| *at < window.1);
            if !is_out && ((to - from) as u64) < run.limits.window_acked_min {
                out.report(Anomaly::NoProgress, &"the run", &[], &[load.line], || {
                    format!(
                        "{} appends were acknowledged from {} ms to {} ms of the run",
                        to - from,
                        window.0 / 1_000_000,
                        window.1 / 1_000_000
                    )
                });
            }
            start += width;
        }
    }
}

fn end_of_load(course: &Course) -> Option<u64> {
    course.began(Phase::FinalReads).or_else(|| course.began(Phase::End)).map(|end| end.at)
}

/// Spans without a healthy majority, each with the time that recovery may take.
fn outages(course: &Course, recovery: u64) -> Vec<(u64, u64)> {
    let mut outages = Vec::new();
    for (place, (began, fault)) in course.faults.iter().enumerate() {
        if fault.stage == Stage::Injected && fault.no_majority {
            let healed = course.faults[place..]
                .iter()
                .find(|(_, later)| later.stage == Stage::Healed && later.name == fault.name);
            let end = healed.map_or(u64::MAX, |(end, _)| end.at.saturating_add(recovery));
            outages.push((began.at, end));
        }
    }
    outages
}
