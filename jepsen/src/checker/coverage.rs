//! Does the history prove enough? Each gap makes the verdict `unknown`.

use super::log::Status;
use super::run::Run;
use crate::history::{Phase, Stage};

/// What was counted over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Lines of the history.
    pub lines: u64,
    /// Appends, retries included.
    pub appends: u64,
    /// Records of appends that were acknowledged.
    pub acked_records: u64,
    /// Appends without a clear answer.
    pub unclear_appends: u64,
    /// Different offsets that were read.
    pub read_records: u64,
    /// Faults that took effect.
    pub faults: u64,
    /// Partitions.
    pub partitions: u64,
}

/// Counts the run once it is over.
pub(crate) fn count(run: &Run, lines: u64) -> Counts {
    let mut counts = Counts { lines, partitions: run.logs.all.len() as u64, ..Counts::default() };
    for log in &run.logs.all {
        for append in &log.appends {
            counts.appends += 1;
            counts.unclear_appends += u64::from(append.status == Status::Unclear);
            if append.status == Status::Ok && append.retry_of.is_none() {
                counts.acked_records += append.count as u64;
            }
        }
        let read = log.slots.values().filter(|slot| slot.first_read.is_some());
        counts.read_records += read.count() as u64;
    }
    let took_effect =
        run.course.faults.iter().filter(|(_, fault)| fault.bit && fault.stage == Stage::Injected);
    counts.faults = took_effect.count() as u64;
    counts
}

/// Why the history does not prove enough.
pub(crate) fn gaps(run: &Run, counts: &Counts) -> Vec<String> {
    let limits = &run.limits;
    let mut gaps = Vec::new();
    if run.course.began(Phase::End).is_none() {
        gaps.push("the run did not come to its end".to_owned());
    }
    if counts.acked_records < limits.acked_min {
        let (acked, asked) = (counts.acked_records, limits.acked_min);
        gaps.push(format!("{acked} records were acknowledged, {asked} are asked for"));
    }
    if counts.faults < limits.faults_min {
        let (faults, asked) = (counts.faults, limits.faults_min);
        gaps.push(format!("{faults} faults took effect, {asked} are asked for"));
    }
    let on_leaders = run
        .course
        .faults
        .iter()
        .filter(|(_, fault)| fault.bit && fault.leader && fault.stage == Stage::Injected);
    let on_leaders = on_leaders.count() as u64;
    if on_leaders < limits.leader_faults_min {
        let asked = limits.leader_faults_min;
        gaps.push(format!("{on_leaders} faults hit a leader, {asked} are asked for"));
    }
    let share = counts.unclear_appends * 100 / counts.appends.max(1);
    if share > limits.indeterminate_percent_max {
        let most = limits.indeterminate_percent_max;
        gaps.push(format!("{share} % of the appends have no clear answer, at most {most} %"));
    }
    gaps.extend(unread(run));
    gaps
}

fn unread(run: &Run) -> impl Iterator<Item = String> {
    let sent_to = run.logs.all.iter().filter(|log| !log.appends.is_empty());
    sent_to.filter(|log| !log.is_read_to_the_end()).map(|log| match log.final_end {
        None => format!("{}: there are no final reads", log.name),
        Some(end) => format!("{}: the final reads did not cover it up to {end}", log.name),
    })
}
