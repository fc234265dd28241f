//! A verdict for eyes.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};

use crate::checker::Report;

/// The verdict on the history in a file, with every finding.
#[must_use]
pub fn table(file: &Path, report: &Report) -> String {
    let counts = &report.counts;
    let mut lines = vec![
        format!("{}  {}  ({})", report.verdict.name(), report.name, file.display()),
        format!(
            "{} lines, {} appends ({} without clear answer), {} records acknowledged, \
             {} read, {} faults",
            counts.lines,
            counts.appends,
            counts.unclear_appends,
            counts.acked_records,
            counts.read_records,
            counts.faults
        ),
    ];
    lines.extend(report.gaps.iter().map(|gap| format!("unknown because {gap}")));
    lines.extend(report.notes.iter().map(|(name, figure)| format!("note: {name}: {figure}")));
    if !report.findings.is_empty() {
        let rows = report.counts_by_anomaly.iter().map(|(anomaly, count)| {
            vec![anomaly.to_string(), count.to_string(), anomaly.summary().to_owned()]
        });
        lines.push(grid(&["anomaly", "found", "meaning"], rows));
        let rows = report.findings.iter().map(|finding| {
            let numbers = finding.lines.iter().map(u64::to_string).collect::<Vec<_>>();
            vec![
                finding.anomaly.code().to_owned(),
                finding.subject.clone(),
                numbers.join(","),
                finding.why.clone(),
            ]
        });
        lines.push(grid(&["anomaly", "where", "lines", "what happened"], rows));
    }
    lines.join("\n")
}

fn grid(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
