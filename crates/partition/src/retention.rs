//! What a partition may let go of: a pure decision over its segments.
//!
//! Whole segments, oldest first (rule 30 of the capabilities). By age a segment goes when its
//! youngest record is too old, the growing one included: a topic that nobody writes to any more
//! becomes empty. By size a sealed segment goes when at least the limit is left without it.

use quipu_segment::Extent;
use quipu_types::{Offset, Progress, TimestampMs};

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Records older than this go; none do without. Unit: milliseconds.
    pub age_ms: Option<u64>,
    /// What is above this goes; nothing does without. Unit: bytes.
    pub bytes: Option<u64>,
}

impl Limits {
    /// Whether anything may ever go.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.age_ms.is_none() && self.bytes.is_none()
    }
}

/// Why records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// By age.
    Age,
    /// By size.
    Size,
}

/// A prefix that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First offset to keep.
    pub to: Offset,
    /// Of the records that go, those by age; the others go by size.
    pub records_by_age: u64,
    /// By size.
    pub records_by_size: u64,
    /// Bytes that go by age.
    pub bytes_by_age: u64,
    /// By size.
    pub bytes_by_size: u64,
}

/// Which prefix may go, of the segments oldest first. `aged_max`: segments that may go by age at
/// once: a clock that jumped does not empty a log at a stroke.
#[must_use]
pub fn cut(
    segments: &[Extent],
    progress: Progress,
    limits: Limits,
    now: TimestampMs,
    aged_max: usize,
) -> Option<Cut> {
    let log_start = progress.log_start();
    // Below the log start are files that go with the next checkpoint.
    let first = segments.partition_point(|segment| segment.next <= log_start);
    let segments = &segments[first..];
    let is_aged = |segment: &&Extent| is_aged(segment, limits.age_ms, now);
    let aged = segments.iter().take_while(is_aged).take(aged_max).count();
    let large = aged + above_size(&segments[aged..], limits.bytes);
    let to = segments[..large].last()?.next.min(progress.high_watermark());
    let aged_to = segments[..aged].last().map_or(log_start, |last| last.next.min(to));
    let bytes = |segments: &[Extent]| segments.iter().map(|segment| segment.bytes).sum();
    (to > log_start).then(|| Cut {
        to,
        records_by_age: aged_to.get() - log_start.get(),
        records_by_size: to.get() - aged_to.get(),
        bytes_by_age: bytes(&segments[..aged]),
        bytes_by_size: bytes(&segments[aged..large]),
    })
}

/// Whether the youngest record of a segment is too old. What is damaged has no age.
fn is_aged(segment: &Extent, age_ms: Option<u64>, now: TimestampMs) -> bool {
    let (Some(age_ms), Some(youngest)) = (age_ms, segment.max_timestamp) else { return false };
    let age_ms = i64::try_from(age_ms).unwrap_or(i64::MAX);
    youngest.get().saturating_add(age_ms) <= now.get()
}

/// How many sealed segments may go so that at least `limit` bytes stay.
fn above_size(segments: &[Extent], limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return 0 };
    let mut left: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let goes = |segment: &&Extent| {
        let is_above = segment.is_sealed && left - segment.bytes >= limit;
        left -= segment.bytes;
        is_above
    };
    segments.iter().take_while(goes).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of ten records and 100 bytes; the n-th is as young as `n` seconds, the last grows.
    fn segments(count: u64) -> Vec<Extent> {
        let of = |n: u64| Extent {
            base: Offset::new(n * 10),
            next: Offset::new(n * 10 + 10),
            bytes: 100,
            max_timestamp: Some(seconds(n)),
            is_sealed: n + 1 < count,
        };
        (0..count).map(of).collect()
    }

    fn seconds(count: u64) -> TimestampMs {
        TimestampMs::new(i64::try_from(count * 1_000).unwrap())
    }

    fn progress(log_start: u64, high_watermark: u64) -> Progress {
        Progress::new(Offset::new(log_start), Offset::new(high_watermark))
    }

    fn kept_from(log_start: u64, limits: Limits, now: u64) -> Option<u64> {
        let cut = cut(&segments(5), progress(log_start, 50), limits, seconds(now), 100);
        cut.map(|cut| cut.to.get())
    }

    fn age(seconds: u64) -> Limits {
        Limits { age_ms: Some(seconds * 1_000), bytes: None }
    }

    fn size(bytes: u64) -> Limits {
        Limits { age_ms: None, bytes: Some(bytes) }
    }

    #[test]
    fn by_age_segments_go_whose_youngest_record_is_too_old() {
        assert_eq!(kept_from(0, age(10), 9), None);
        assert_eq!(kept_from(0, age(10), 10), Some(10));
        assert_eq!(kept_from(0, age(10), 12), Some(30));
        assert_eq!(kept_from(30, age(10), 12), None, "gone already");
        assert_eq!(kept_from(15, age(10), 12), Some(30), "a start in the middle of a segment");
        assert_eq!(kept_from(0, age(10), 1_000), Some(50), "the growing one too");
    }

    #[test]
    fn by_size_at_least_the_limit_stays_and_the_growing_segment_always() {
        assert_eq!(kept_from(0, size(500), 0), None);
        assert_eq!(kept_from(0, size(401), 0), None);
        assert_eq!(kept_from(0, size(400), 0), Some(10));
        assert_eq!(kept_from(0, size(250), 0), Some(20));
        assert_eq!(kept_from(20, size(250), 0), None);
        assert_eq!(kept_from(0, size(0), 0), Some(40));
    }

    #[test]
    fn both_limits_act_and_each_is_counted() {
        let limits = Limits { age_ms: Some(10_000), bytes: Some(150) };
        let cut = cut(&segments(5), progress(5, 50), limits, seconds(11), 100).unwrap();
        assert_eq!(cut.to, Offset::new(30));
        assert_eq!((cut.records_by_age, cut.bytes_by_age), (15, 200));
        assert_eq!((cut.records_by_size, cut.bytes_by_size), (10, 100));
    }

    #[test]
    fn a_jump_of_the_clock_takes_a_few_segments_at_a_time() {
        let cut = |max| cut(&segments(5), progress(0, 50), age(1), seconds(1_000_000), max);
        assert_eq!(cut(2).unwrap().to, Offset::new(20));
        assert_eq!(cut(0), None);
    }

    #[test]
    fn what_has_no_known_age_stays_and_keeps_what_is_behind_it() {
        let mut segments = segments(5);
        segments[1].max_timestamp = None;
        let cut = cut(&segments, progress(0, 50), age(1), seconds(1_000), 100).unwrap();
        assert_eq!(cut.to, Offset::new(10));
    }

    #[test]
    fn nothing_above_the_high_watermark_goes() {
        let cut = cut(&segments(5), progress(0, 45), age(1), seconds(1_000), 100).unwrap();
        assert_eq!(cut.to, Offset::new(45));
    }

    #[test]
    fn a_log_without_limits_or_segments_keeps_everything() {
        assert_eq!(kept_from(0, Limits::default(), 1_000_000), None);
        assert!(Limits::default().is_unlimited() && !age(1).is_unlimited());
        assert_eq!(cut(&[], progress(0, 0), age(0), seconds(1), 100), None);
    }
}
