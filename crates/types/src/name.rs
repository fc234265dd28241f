//! Names users choose, checked once.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// A topic's name: 1 to 249 of `A–Z a–z 0–9 . _ -`, not `.` or `..` (Kafka's rule, so that names
/// carry over); a leading `__` is kept for the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is not a topic name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopicName {
    /// No characters at all.
    #[error("a topic name is empty: use 1 to {TOPIC_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -")]
    Empty,
    /// Too long.
    #[error("a topic name has {actual} bytes; at most {TOPIC_NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        actual: usize,
    },
    /// A character outside the set.
    #[error("topic name {name:?} has {found:?} at byte {at}: use only A-Z a-z 0-9 . _ -")]
    Character {
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        found: char,
        /// Where it stands.
        at: usize,
    },
    /// `.` or `..`.
    #[error("topic name {name:?} is a path component; choose another")]
    Path {
        /// The name as given.
        name: String,
    },
    /// Kept for the system.
    #[error("topic name {name:?} starts with \"__\", which is kept for internal topics")]
    Protected {
        /// The name as given.
        name: String,
    },
}

impl TopicName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidTopicName`] says which part of the rule is broken, and where.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(InvalidTopicName::TooLong { actual: name.len() });
        }
        if let Some((at, found)) = name.char_indices().find(|(_, c)| !is_allowed(*c)) {
            return Err(InvalidTopicName::Character { name: name.to_owned(), found, at });
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Path { name: name.to_owned() });
        }
        if name.starts_with("__") {
            return Err(InvalidTopicName::Protected { name: name.to_owned() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for TopicName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_seeds_are_accepted() {
        for name in ["court.case.filed", "FeeUpdated", "complaints.v1", "a", &"x".repeat(249)] {
            assert_eq!(TopicName::new(name).expect(name).as_str(), name);
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        type IsRule = fn(&InvalidTopicName) -> bool;
        let cases: [(&str, IsRule); 8] = [
            ("", |e| matches!(e, InvalidTopicName::Empty)),
            (".", |e| matches!(e, InvalidTopicName::Path { .. })),
            ("..", |e| matches!(e, InvalidTopicName::Path { .. })),
            ("Bad Name", |e| matches!(e, InvalidTopicName::Character { at: 3, found: ' ', .. })),
            ("a/b", |e| matches!(e, InvalidTopicName::Character { at: 1, .. })),
            ("fee\u{0}", |e| matches!(e, InvalidTopicName::Character { found: '\u{0}', .. })),
            ("gebühr", |e| matches!(e, InvalidTopicName::Character { found: 'ü', .. })),
            ("__offsets", |e| matches!(e, InvalidTopicName::Protected { .. })),
        ];
        for (name, is_expected) in cases {
            let refused = TopicName::new(name).expect_err(name);
            assert!(is_expected(&refused), "{name:?}: {refused:?}");
        }
        let long = TopicName::new(&"x".repeat(250));
        assert_eq!(long, Err(InvalidTopicName::TooLong { actual: 250 }));
    }
}
