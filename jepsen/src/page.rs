//! A run on one page that needs nothing else: faults, appends per second, latencies, leaders,
//! findings.

mod course;
mod svg;

use std::fmt::Write;

use crate::chaos::Outcome;
use crate::checker::Report;
pub use course::{Course, Second, Span};

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;\
padding:0 1em;color:#222}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}\
svg{width:100%;height:auto;background:#fafafa}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.2em .6em;border-bottom:1px solid #ddd;vertical-align:top}\
.valid{color:#187a32}.invalid{color:#b3151b}.unknown{color:#8a5a00}pre{white-space:pre-wrap}";

/// Writes the page.
#[must_use]
pub fn render(course: &Course, outcome: &Outcome) -> String {
    let report = &outcome.report;
    let verdict = outcome.verdict().name();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{verdict}: {name}</title><style>{STYLE}</style></head><body>\n\
         <h1><span class=\"{verdict}\">{verdict}</span>: {name}</h1>\n",
        name = escape(&report.name)
    );
    page.push_str(&figures(report));
    for (title, picture) in [
        ("Faults and leaders", svg::faults(course)),
        ("Appends per second, by answer", svg::rates(course)),
        ("Latency of acknowledged appends, ms (median, 99th of a hundred)", svg::latencies(course)),
    ] {
        let _infallible = writeln!(page, "<h2>{title}</h2>\n{picture}");
    }
    page.push_str(&findings(outcome));
    page.push_str("</body></html>\n");
    page
}

fn figures(report: &Report) -> String {
    let counts = &report.counts;
    let mut rows = vec![
        ("lines of history", counts.lines),
        ("appends", counts.appends),
        ("records acknowledged", counts.acked_records),
        ("appends without a clear answer", counts.unclear_appends),
        ("offsets read", counts.read_records),
        ("faults that took effect", counts.faults),
    ];
    rows.extend(report.notes.iter().map(|(name, figure)| (*name, *figure)));
    let rows: String = rows
        .iter()
        .map(|(name, figure)| format!("<tr><td>{}</td><td>{figure}</td></tr>\n", escape(name)))
        .collect();
    format!("<table>\n{rows}</table>\n")
}

fn findings(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let mut text = String::from("<h2>Findings</h2>\n");
    if report.findings.is_empty() && outcome.deaths.is_empty() {
        text.push_str("<p>None.</p>\n");
    }
    for gap in &report.gaps {
        text.push_str(&format!("<p class=\"unknown\">unknown because {}</p>\n", escape(gap)));
    }
    for death in &outcome.deaths {
        text.push_str(&format!("<pre class=\"invalid\">{}</pre>\n", escape(death)));
    }
    for note in &outcome.notes {
        text.push_str(&format!("<pre>excused: {}</pre>\n", escape(note)));
    }
    let rows = report.findings.iter().map(|finding| {
        let lines: Vec<String> = finding.lines.iter().map(u64::to_string).collect();
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&finding.anomaly.to_string()),
            escape(&finding.subject),
            lines.join(", "),
            escape(&finding.why)
        )
    });
    let rows: String = rows.collect();
    if !rows.is_empty() {
        let head = "<tr><th>anomaly</th><th>where</th><th>lines</th><th>what happened</th></tr>";
        text.push_str(&format!("<table>\n{head}\n{rows}</table>\n"));
    }
    text
}

/// Text as it may stand in a page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
