//! Tables for eyes, JSON for scripts; data to stdout, words to stderr.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Prints a line of data.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints a document as JSON.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(document)?)
}

/// Prints a table without borders, headers in upper case.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    for row in table.to_string().lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

/// Words for a person, to stderr.
#[expect(clippy::print_stderr, reason = "this is the door to the person's terminal")]
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
