//! What was found, with its evidence.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Anomaly;

/// Findings kept per anomaly; the others are counted only.
const KEPT: usize = 20;

/// One anomaly and its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What must not happen.
    pub anomaly: Anomaly,
    /// The partition, group or topic.
    pub subject: String,
    /// Offsets concerned.
    pub offsets: Vec<u64>,
    /// Lines of the history that show it.
    pub lines: Vec<u64>,
    /// What happened, in one sentence.
    pub why: String,
}

/// Collects findings, a bounded number of each kind.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Anomaly, u64>,
    notes: BTreeMap<&'static str, u64>,
}

impl Findings {
    /// Notes an anomaly; `lines` may name 0 for "no line".
    #[expect(clippy::too_many_arguments, reason = "they are the fields of a finding")]
    pub(crate) fn report(
        &mut self,
        anomaly: Anomaly,
        subject: &impl ToString,
        offsets: &[u64],
        lines: &[u64],
        why: impl FnOnce() -> String,
    ) {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        if *count > KEPT as u64 {
            return;
        }
        let mut lines: Vec<u64> = lines.iter().copied().filter(|line| *line > 0).collect();
        lines.sort_unstable();
        lines.dedup();
        let finding = Finding {
            anomaly,
            subject: subject.to_string(),
            offsets: offsets.to_vec(),
            lines,
            why: why(),
        };
        self.kept.push(finding);
    }

    /// Counts something that is tolerated.
    pub(crate) fn note(&mut self, name: &'static str, more: u64) {
        *self.notes.entry(name).or_default() += more;
    }

    /// Keeps the greatest figure under a name.
    pub(crate) fn note_max(&mut self, name: &'static str, figure: u64) {
        let kept = self.notes.entry(name).or_default();
        *kept = figure.max(*kept);
    }

    pub(crate) fn into_parts(
        mut self,
    ) -> (Vec<Finding>, BTreeMap<Anomaly, u64>, BTreeMap<&'static str, u64>) {
        self.kept.sort_by_key(|finding| (finding.anomaly, finding.lines.first().copied()));
        (self.kept, self.counts, self.notes)
    }
}
