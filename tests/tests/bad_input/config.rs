//! Settings of topics that are refused.

/// Keys nobody knows.
pub(crate) const UNKNOWN: &[&str] = &["", "max-batch-byte", "retention.ms", "MAX-BATCH-BYTES"];

/// Keys and values that are refused.
pub(crate) const BAD: &[(&str, &str)] = &[
    ("", "1"),
    ("no-such-setting", "1"),
    ("max-batch-byte", "4096"),
    ("Max-Batch-Bytes", "4096"),
    ("min-insync", "0"),
    ("min-insync", "1"),
    ("min-insync", "4"),
    ("min-insync", "-1"),
    ("min-insync", "two"),
    ("min-acks", "all"),
    ("min-acks", ""),
    ("max-batch-bytes", ""),
    ("max-batch-bytes", "1023"),
    ("max-batch-bytes", "8388609"),
    ("max-batch-bytes", "-1"),
    ("max-batch-bytes", "99999999999999999999999999"),
    ("timestamp-type", "mine"),
    ("retention-time", "59s"),
    ("retention-time", "36501d"),
    ("retention-time", "99999999999999999d"),
    ("retention-bytes", "1"),
    ("segment-bytes", "2GiB"),
    ("segment-time", "9s"),
    ("segment-time", "unlimited"),
];
