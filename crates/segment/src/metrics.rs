//! All metrics of this crate. No labels: logs are many.

use metrics::{counter, gauge};

const CORRUPTIONS: &str = "quipu_segment_corruptions_total";
const SEALED: &str = "quipu_segment_sealed_total";
const REMOVED: &str = "quipu_segment_removed_total";
const INDEXES_REBUILT: &str = "quipu_segment_indexes_rebuilt_total";
const WRITTEN_BYTES: &str = "quipu_segment_written_bytes_total";
const TAIL_BYTES: &str = "quipu_segment_tail_bytes";

const MENDED: &str = "quipu_segment_mended_total";
const COMPACTED_RECORDS: &str = "quipu_segment_compacted_records_total";
const OPAQUE: &str = "quipu_segment_opaque_batches_total";
const COMPACTED_BYTES: &str = "quipu_segment_compacted_bytes_total";

/// All that are there from the start.
const COUNTERS: [&str; 9] = [
    CORRUPTIONS,
    MENDED,
    SEALED,
    REMOVED,
    INDEXES_REBUILT,
    WRITTEN_BYTES,
    COMPACTED_RECORDS,
    COMPACTED_BYTES,
    OPAQUE,
];

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(CORRUPTIONS, Unit::Count, "Damaged places found in segment files.");
    describe_counter!(MENDED, Unit::Count, "Damaged segments replaced by a peer's copy.");
    describe_counter!(SEALED, Unit::Count, "Segments sealed.");
    describe_counter!(REMOVED, Unit::Count, "Segments removed behind the log start.");
    describe_counter!(INDEXES_REBUILT, Unit::Count, "Indexes rebuilt from their segment.");
    describe_counter!(WRITTEN_BYTES, Unit::Bytes, "Bytes written to segment files.");
    describe_counter!(COMPACTED_RECORDS, Unit::Count, "Records that compaction removed.");
    describe_counter!(COMPACTED_BYTES, Unit::Bytes, "Bytes that compaction freed.");
    describe_counter!(
        OPAQUE,
        Unit::Count,
        "Compressed batches that compaction kept whole: too large inside, or damaged there."
    );
    describe_gauge!(TAIL_BYTES, Unit::Bytes, "Appended bytes in memory, not yet written.");
    // A rate of what never happened is 0, not missing.
    for name in COUNTERS {
        counter!(name).increment(0);
    }
    gauge!(TAIL_BYTES).set(0.0);
}

pub(crate) fn count_corruption() {
    counter!(CORRUPTIONS).increment(1);
}

pub(crate) fn count_mended(segments: u64) {
    counter!(MENDED).increment(segments);
}

pub(crate) fn count_sealed() {
    counter!(SEALED).increment(1);
}

pub(crate) fn count_removed(segments: u64) {
    counter!(REMOVED).increment(segments);
}

pub(crate) fn count_compacted(records: u64, bytes: u64) {
    counter!(COMPACTED_RECORDS).increment(records);
    counter!(COMPACTED_BYTES).increment(bytes);
}

pub(crate) fn count_opaque(batches: u64) {
    counter!(OPAQUE).increment(batches);
}

pub(crate) fn count_index_rebuilt() {
    counter!(INDEXES_REBUILT).increment(1);
}

/// Counts a write, and says how much still waits in all logs.
pub(crate) fn count_written(bytes: u64, waiting: usize) {
    counter!(WRITTEN_BYTES).increment(bytes);
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    gauge!(TAIL_BYTES).set(f64::from(waiting));
}
