//! Positions of records, how far a partition has come, and what an acknowledgement means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a record in a partition: dense from 0, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// Wraps an offset.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The leadership under which a batch was appended: the shard's term plus the partition's base,
/// monotone across moves between shards. Written into each stored batch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// Wraps an epoch.
    #[must_use]
    pub const fn new(value: i32) -> Self {
        Self(value)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How far a partition has come. Law: `log_start ≤ high_watermark`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    log_start: Offset,
    high_watermark: Offset,
}

impl Progress {
    /// Progress recovered from a checkpoint.
    ///
    /// # Panics
    /// When the law does not hold: the checkpoint was checked before.
    #[must_use]
    pub fn new(log_start: Offset, high_watermark: Offset) -> Self {
        let progress = Self { log_start, high_watermark };
        progress.assert_law();
        progress
    }

    /// First kept offset.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Next offset to assign: the first a reader may not see.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Moves the high watermark; says whether it moved. It never goes back.
    pub fn advance_high_watermark_to(&mut self, to: Offset) -> bool {
        let moved = to > self.high_watermark;
        self.high_watermark = self.high_watermark.max(to);
        self.assert_law();
        moved
    }

    /// Moves the log start, at most to the high watermark; says whether it moved.
    pub fn advance_log_start_to(&mut self, to: Offset) -> bool {
        let to = to.min(self.high_watermark);
        let moved = to > self.log_start;
        self.log_start = self.log_start.max(to);
        self.assert_law();
        moved
    }

    fn assert_law(&self) {
        assert!(
            self.log_start <= self.high_watermark,
            "log start {} is above high watermark {}",
            self.log_start,
            self.high_watermark
        );
    }
}

/// When a producer hears that its batch is stored (ARCHITECTURE §2, "Acknowledgement").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// Nothing is awaited; loss goes unnoticed.
    None,
    /// The leader's own flush; provisional until a quorum has it.
    Leader,
    /// Committed, on the disks of at least `min_insync` replicas.
    #[default]
    Quorum,
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Leader => "leader",
            Self::Quorum => "quorum",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back_and_keeps_its_law() {
        let mut progress = Progress::default();
        assert!(progress.advance_high_watermark_to(Offset::new(10)));
        assert!(!progress.advance_high_watermark_to(Offset::new(5)));
        assert!(progress.advance_log_start_to(Offset::new(99)), "clamped to the high watermark");
        assert_eq!(progress, Progress::new(Offset::new(10), Offset::new(10)));
    }
}
