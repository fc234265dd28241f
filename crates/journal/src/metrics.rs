//! All metrics of this crate.

use std::time::Duration;

const FLUSH_SECONDS: &str = "quipu_journal_flush_seconds";
const FLUSHES_TOTAL: &str = "quipu_journal_flushes_total";
const BYTES_TOTAL: &str = "quipu_journal_bytes_total";
const BATCH_RECORDS: &str = "quipu_journal_batch_records";
const FILES: &str = "quipu_journal_files";

/// Registers the descriptions.
pub fn describe() {
    metrics::describe_histogram!(
        FLUSH_SECONDS,
        metrics::Unit::Seconds,
        "Time of one fdatasync of the journal."
    );
    metrics::describe_counter!(FLUSHES_TOTAL, "Flushes of the journal.");
    metrics::describe_counter!(
        BYTES_TOTAL,
        metrics::Unit::Bytes,
        "Bytes of frames written to the journal."
    );
    metrics::describe_histogram!(
        BATCH_RECORDS,
        "Frames of all groups that shared one write and flush."
    );
    metrics::describe_gauge!(FILES, "Journal files with live entries, and the one being written.");
}

pub(crate) fn flushed(took: Duration) {
    metrics::histogram!(FLUSH_SECONDS).record(took.as_secs_f64());
    metrics::counter!(FLUSHES_TOTAL).increment(1);
}

pub(crate) fn written(bytes: u64) {
    metrics::counter!(BYTES_TOTAL).increment(bytes);
}

pub(crate) fn batch(records: usize) {
    let records = u32::try_from(records).unwrap_or(u32::MAX);
    metrics::histogram!(BATCH_RECORDS).record(f64::from(records));
}

pub(crate) fn files(count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!(FILES).set(f64::from(count));
}
