//! What the checker says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::finding::Findings;
use super::{Anomaly, Counts, Finding};
use crate::history::{Expectation, Start};

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong, and the history proves enough.
    Valid,
    /// Nothing is wrong, but the history does not prove enough.
    Unknown,
    /// Something happened that must not.
    Invalid,
}

impl Verdict {
    /// `valid`, `unknown` or `invalid`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

/// What the checker says about one history.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the run.
    pub name: String,
    /// The judgement.
    pub verdict: Verdict,
    /// What the head of the history expects, in the checker's own tests.
    #[serde(skip)]
    pub expect: Option<Expectation>,
    /// How often each anomaly was found.
    pub counts_by_anomaly: BTreeMap<Anomaly, u64>,
    /// The first findings of each anomaly, with their evidence.
    pub findings: Vec<Finding>,
    /// Why the history does not prove enough.
    pub gaps: Vec<String>,
    /// What was counted.
    pub counts: Counts,
    /// What is tolerated, and figures.
    pub notes: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(super) fn new(
        start: Option<Start>,
        out: Findings,
        counts: Counts,
        gaps: Vec<String>,
    ) -> Self {
        let (findings, counts_by_anomaly, notes) = out.into_parts();
        let verdict = match (findings.is_empty(), gaps.is_empty()) {
            (false, _) => Verdict::Invalid,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Valid,
        };
        let (name, expect) = start.map(|start| (start.name, start.expect)).unwrap_or_default();
        Self { name, verdict, expect, counts_by_anomaly, findings, gaps, counts, notes }
    }
}
