//! What users write for places, times, durations, sizes and codecs.

use std::time::Duration;

use quipu_client::{End, InvalidPosition, Start};
use quipu_types::record::Codec;
use quipu_types::{ByteCount, TimestampMs};

use crate::exit::Failure;

/// `start`, `end`, `42`, `-10`, `@2026-01-01T00:00Z`, `@-1h`.
///
/// # Errors
/// A text that names no start.
pub fn start(text: &str) -> anyhow::Result<Start> {
    text.parse().map_err(|error: InvalidPosition| Failure::usage(format!("--from {text}: {error}")))
}

/// `never`, `end`, `42`, `@2026-01-01T00:00Z`.
///
/// # Errors
/// A text that names no end.
pub fn end(text: &str) -> anyhow::Result<End> {
    text.parse()
        .map_err(|error: InvalidPosition| Failure::usage(format!("--until {text}: {error}")))
}

/// `30s`, `2m`.
///
/// # Errors
/// A text that is no duration, or a negative one.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| Failure::usage(format!("{text:?} is not a duration, for example 30s or 2m")))
}

/// `64KiB`.
///
/// # Errors
/// A text that is no size.
pub fn bytes(text: &str) -> anyhow::Result<usize> {
    let count: ByteCount = text
        .parse()
        .map_err(|error: quipu_types::InvalidByteCount| Failure::usage(error.to_string()))?;
    Ok(usize::try_from(count.get())?)
}

/// `none`, `lz4`, `zstd`, `snappy`, `gzip`.
///
/// # Errors
/// A name nobody gave a codec.
pub fn codec(text: &str) -> anyhow::Result<Codec> {
    match text {
        "none" => Ok(Codec::None),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        "snappy" => Ok(Codec::Snappy),
        "gzip" => Ok(Codec::Gzip),
        other => {
            Err(Failure::usage(format!("--compression {other}: none, lz4, zstd, snappy or gzip")))
        }
    }
}

/// RFC 3339, UTC, milliseconds.
#[must_use]
pub fn time(timestamp: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(timestamp.get())
        .map_or_else(|_| timestamp.to_string(), |time| format!("{time:.3}"))
}
