//! One thing that is not as it should be.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Severity {
    /// Something does not work.
    Error,
    /// Something works with less than it should have.
    Warning,
    /// Worth knowing; the cluster counts as healthy.
    Note,
}

impl Severity {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What is wrong, where, and what to do. Field names are those of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// For scripts; never another meaning.
    pub(super) kind: &'static str,
    /// `node 3`, `shards 1, 2`, `group sms`, a file.
    pub(super) place: String,
    pub(super) what: String,
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        kind: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (place, what, advice) = (place.into(), what.into(), advice.into());
        Self { severity, kind, place, what, advice }
    }
}

/// How many are named one by one.
const NAMED_MAX: usize = 8;

/// `node 1`, `nodes 1, 2`; of many the first.
pub(super) fn named(noun: &str, items: &[impl ToString]) -> String {
    let shown: Vec<String> = items.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let plural = if items.len() == 1 { "" } else { "s" };
    let rest = items.len() - shown.len();
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{noun}{plural} {}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_named_by_the_first() {
        assert_eq!(named("shard", &[7]), "shard 7");
        assert_eq!(named("shard", &[7, 8]), "shards 7, 8");
        let many: Vec<u32> = (1..=10).collect();
        assert_eq!(named("shard", &many), "shards 1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    }
}
