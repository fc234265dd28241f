//! Findings for eyes and for scripts.

use serde::Serialize;

use super::finding::{Finding, Severity};
use crate::args::{Format, Global};
use crate::output;

#[derive(Serialize)]
struct Report<'a> {
    is_healthy: bool,
    findings: &'a [Finding],
}

pub(super) fn print(global: &Global, findings: &[Finding]) -> anyhow::Result<()> {
    let is_healthy = findings.iter().all(|finding| finding.severity == Severity::Note);
    match global.output {
        Format::Json => output::json(&Report { is_healthy, findings }),
        Format::Raw => findings.iter().try_for_each(|finding| output::line(finding.kind)),
        Format::Table => {
            for line in lines(findings) {
                output::line(&line)?;
            }
            if is_healthy {
                output::line("healthy")?;
            }
            Ok(())
        }
    }
}

/// Two lines each: what is wrong, and what to do.
fn lines(findings: &[Finding]) -> Vec<String> {
    let lines = findings.iter().flat_map(|finding| {
        let Finding { severity, place, what, advice, .. } = finding;
        [format!("{:<8} {place}: {what}", severity.word()), format!("         -> {advice}")]
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_how_bad_where_what_and_what_to_do() {
        let finding =
            Finding::new(Severity::Error, "node-down", "node 3", "does not answer", "start it");
        assert_eq!(lines(&[finding]), ["error    node 3: does not answer", "         -> start it"]);
    }
}
