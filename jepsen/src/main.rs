//! `quipu-check`: judges histories.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use quipu_jepsen::checker::{Checker, Report, Verdict};
use quipu_jepsen::history::Reader;

/// Judges histories of a Quipu cluster: is every promise kept?
#[derive(Debug, Parser)]
#[command(
    name = "quipu-check",
    version,
    after_help = "Exit code: 0 all valid, 1 one is invalid, 2 one is unknown or cannot be read.\n\n\
                  Example:\n  quipu-check runs/kill-1.jsonl runs/pause-1.jsonl --format json"
)]
struct Invocation {
    /// Histories, one JSON object per line (see jepsen/HISTORY.md).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tables for eyes, JSON (one document per line and file) for scripts.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> ExitCode {
    let invocation = Invocation::parse();
    let mut worst = Verdict::Valid;
    for file in &invocation.files {
        let verdict = judge(file, invocation.format).unwrap_or_else(|error| {
            note(&format!("quipu-check: {error:#}"));
            Verdict::Unknown
        });
        worst = worst.max(verdict);
    }
    ExitCode::from(match worst {
        Verdict::Valid => 0,
        Verdict::Invalid => 1,
        Verdict::Unknown => 2,
    })
}

fn judge(file: &Path, format: Format) -> Result<Verdict> {
    let shown = file.display();
    let reader = Reader::open(file).with_context(|| format!("open {shown}"))?;
    let report = Checker::check(reader).with_context(|| format!("{shown}"))?;
    let text = match format {
        Format::Json => serde_json::to_string(&report)?,
        Format::Table => table(file, &report),
    };
    writeln!(std::io::stdout().lock(), "{text}").context("print the report")?;
    Ok(report.verdict)
}

fn table(file: &Path, report: &Report) -> String {
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

#[expect(clippy::print_stderr, reason = "this is the door to the person's terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}
