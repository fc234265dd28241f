//! `quipu journal`: a look into a node's journal files.

use crate::args::{Format, Global, JournalVerb};
use crate::output;

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: JournalVerb) -> anyhow::Result<()> {
    let JournalVerb::Dump { dir } = verb;
    let is_json = global.output == Format::Json;
    let mut failed = None;
    quipu_journal::dump(quipu_disk::real().as_ref(), &dir, &mut |line| {
        let text = if is_json { line.to_json() } else { line.to_string() };
        if let Err(error) = output::line(&text) {
            failed.get_or_insert(error);
        }
    })?;
    failed.map_or(Ok(()), Err)
}
