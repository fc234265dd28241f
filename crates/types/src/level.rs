//! Format levels: one number for everything nodes of different releases must agree on.
//!
//! A level names a set of layouts: the journal, segments, checkpoints, rows, the identity file,
//! replicated commands, and what goes between nodes. `docs/formats/levels.md` lists them. A release
//! that changes any of them in a way that its predecessor does not understand adds a level, reads
//! the old layouts and the new ones, and writes the old ones until the cluster is *finalized* at the
//! new level: until then the way back to the old release is open.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The oldest level this release reads and writes.
pub const MIN_LEVEL: FormatLevel = FormatLevel::FIRST;
/// The newest level this release reads and writes.
pub const LEVEL: FormatLevel = FormatLevel::FIRST;

/// A set of layouts. Persisted; never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormatLevel(u32);

impl FormatLevel {
    /// What there was when levels began.
    pub const FIRST: Self = Self(1);

    /// Wraps a level.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The level after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The first: files and commands from before levels do not name one.
impl Default for FormatLevel {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for FormatLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The levels a node reads and writes, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelRange {
    /// The oldest.
    pub min: FormatLevel,
    /// The newest.
    pub max: FormatLevel,
}

impl LevelRange {
    /// Those of this release.
    pub const OWN: Self = Self { min: MIN_LEVEL, max: LEVEL };

    /// Whether a level is among them.
    #[must_use]
    pub const fn holds(self, level: FormatLevel) -> bool {
        self.min.0 <= level.0 && level.0 <= self.max.0
    }
}

impl fmt::Display for LevelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "level {}", self.min)
        } else {
            write!(f, "levels {} to {}", self.min, self.max)
        }
    }
}

const _: () = assert!(MIN_LEVEL.0 <= LEVEL.0, "a release reads what it writes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_ends_and_says_itself() {
        let range = LevelRange { min: FormatLevel::new(2), max: FormatLevel::new(4) };
        let held: Vec<u32> = (0..6).filter(|level| range.holds(FormatLevel::new(*level))).collect();
        assert_eq!(held, [2, 3, 4]);
        assert_eq!(range.to_string(), "levels 2 to 4");
        assert_eq!(LevelRange::default().to_string(), "level 1");
        assert!(LevelRange::OWN.holds(LEVEL) && LevelRange::OWN.holds(MIN_LEVEL));
    }
}
