//! `quipu journal`: a look into a node's journal files.

use quipu_journal::DumpLine;

use crate::args::{Format, Global, JournalVerb};
use crate::output;

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: JournalVerb) -> anyhow::Result<()> {
    let JournalVerb::Dump { dir } = verb;
    let is_json = global.output == Format::Json;
    let mut failed = None;
    quipu_journal::dump(quipu_disk::real().as_ref(), &dir, &mut |line| {
        let text = if is_json { document(&line).to_string() } else { line.to_string() };
        if let Err(error) = output::line(&text) {
            failed.get_or_insert(error);
        }
    })?;
    failed.map_or(Ok(()), Err)
}

fn document(line: &DumpLine) -> serde_json::Value {
    let frame = line.frame.as_ref().map(|frame| {
        serde_json::json!({
            "kind": frame.kind,
            "shard": frame.shard.map(|shard| shard.get()),
            "term": frame.id.term.get(),
            "index": frame.id.index.get(),
            "payload_bytes": frame.payload_bytes,
            "durable": frame.durable,
            "end": frame.end,
            "is_cut_off": frame.is_cut_off,
        })
    });
    serde_json::json!({
        "position": line.position.to_string(),
        "frame": frame,
        "damage": line.damage.as_ref().map(ToString::to_string),
    })
}
