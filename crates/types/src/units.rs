//! Quantities with their unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch, UTC. Negative before 1970; −1 on the wire means none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TimestampMs(i64);

impl TimestampMs {
    /// Wraps a time.
    #[must_use]
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The bare number of milliseconds.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number of bytes, written `64MiB`, `1GB` or `512` in configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

/// A text that is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a size: write a number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB")]
pub struct InvalidByteCount {
    text: String,
}

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteCount {
    /// Wraps a number of bytes.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteCount {
    type Err = InvalidByteCount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidByteCount { text: text.to_owned() };
        let trimmed = text.trim();
        let (digits, scale) = UNITS
            .iter()
            .find_map(|(unit, scale)| {
                let head = trimmed.strip_suffix(unit)?;
                head.trim_end().ends_with(|c: char| c.is_ascii_digit()).then_some((head, *scale))
            })
            .unwrap_or((trimmed, 1));
        let number: u64 = digits.trim().parse().map_err(|_| invalid())?;
        number.checked_mul(scale).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            UNITS[..4].iter().find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale));
        match whole {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        assert_eq!("64MiB".parse(), Ok(ByteCount::new(64 << 20)));
        assert_eq!("1 GB".parse(), Ok(ByteCount::new(1_000_000_000)));
        assert_eq!("512".parse(), Ok(ByteCount::new(512)));
        assert_eq!("512B".parse(), Ok(ByteCount::new(512)));
    }

    #[test]
    fn what_is_not_a_size_is_refused_by_name() {
        for text in ["", "MiB", "-1", "1.5GiB", "64 miles", "99999999999TiB"] {
            let refused = text.parse::<ByteCount>().expect_err(text);
            assert!(refused.to_string().contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_whole_unit() {
        assert_eq!(ByteCount::new(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteCount::new(1000).to_string(), "1000B");
    }
}
