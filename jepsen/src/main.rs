//! `quipu-check`: judges histories.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use quipu_jepsen::checker::{Checker, Verdict};
use quipu_jepsen::history::Reader;
use quipu_jepsen::table::table;

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

#[expect(clippy::print_stderr, reason = "this is the door to the person's terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}
