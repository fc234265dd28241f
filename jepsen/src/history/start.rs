//! The first line of a history: its version, and what it must reach to prove anything.

use serde::{Deserialize, Serialize};

/// Version of the format.
pub const VERSION: u32 = 1;

/// The head of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the run.
    pub name: String,
    /// What the run must reach, and how long things may take.
    #[serde(default)]
    pub limits: Limits,
    /// What the checker must say: for the checker's own tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
}

impl Start {
    /// The head of a run with the usual limits.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { version: VERSION, name: name.to_owned(), limits: Limits::default(), expect: None }
    }
}

/// What the checker must say about a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// `valid`, `invalid` or `unknown`.
    pub verdict: String,
    /// Codes of all anomalies, sorted.
    #[serde(default)]
    pub anomalies: Vec<String>,
}

/// What a run must reach to be more than `unknown`, and how long things may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Acknowledged records.
    pub acked_min: u64,
    /// Faults that took effect.
    pub faults_min: u64,
    /// Faults that took effect on a leader.
    pub leader_faults_min: u64,
    /// Share of appends without a clear answer, in percent.
    pub indeterminate_percent_max: u64,
    /// Width of a progress window; 0: progress is not judged.
    pub window_ms: u64,
    /// Acknowledged appends in each window with a healthy majority.
    pub window_acked_min: u64,
    /// Time after the end of a fault in which no progress is asked for, and time after the
    /// last one until every group must be whole.
    pub heal_ms: u64,
    /// Silence after which a producer may be forgotten; 0: never.
    pub producer_expiry_ms: u64,
    /// Session timeout of static members; 0: not judged.
    pub session_ms: u64,
    /// Greatest lag of a read after healing; 0: not judged.
    pub lag_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acked_min: 100_000,
            faults_min: 10,
            leader_faults_min: 1,
            indeterminate_percent_max: 50,
            window_ms: 10_000,
            window_acked_min: 100,
            heal_ms: 30_000,
            producer_expiry_ms: 0,
            session_ms: 0,
            lag_ms_max: 0,
        }
    }
}
