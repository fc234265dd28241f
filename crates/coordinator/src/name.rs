//! What groups and members are called.

use std::fmt;
use std::sync::Arc;

use quipu_types::limits;
use serde::{Deserialize, Serialize};

/// The name of a consumer group: 1 to 255 bytes without control characters, not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(Arc<str>);

/// A member's own id: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId(Arc<str>);

/// Why a text is no group name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroupName {
    /// There is none.
    #[error("a group needs a name")]
    Empty,
    /// It is too long.
    #[error("the group name has {bytes} bytes; at most {limit} are allowed")]
    Length {
        /// Its bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// It would be a path.
    #[error("{name:?} is not allowed as a group name")]
    Path {
        /// As given.
        name: String,
    },
    /// It has a control character.
    #[error("the group name has the control character {found:?} at byte {at}")]
    Control {
        /// Where.
        at: usize,
        /// What.
        found: char,
    },
}

/// Why a text is no member id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMemberId {
    /// There is none.
    #[error("it is empty; use 1 to {limit} of A-Z a-z 0-9 . _ -")]
    Empty {
        /// The most.
        limit: usize,
    },
    /// It is too long.
    #[error("it has {bytes} bytes; at most {limit} are allowed")]
    Length {
        /// Its bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// It has another character.
    #[error("it has {found:?} at byte {at}; use A-Z a-z 0-9 . _ -")]
    Character {
        /// Where.
        at: usize,
        /// What.
        found: char,
    },
}

impl GroupName {
    /// Checks a name.
    ///
    /// # Errors
    /// The rule that is broken, and where.
    pub fn new(name: &str) -> Result<Self, InvalidGroupName> {
        let (bytes, limit) = (name.len(), limits::GROUP_NAME_BYTES_MAX);
        if name.is_empty() {
            return Err(InvalidGroupName::Empty);
        }
        if bytes > limit {
            return Err(InvalidGroupName::Length { bytes, limit });
        }
        if matches!(name, "." | "..") {
            return Err(InvalidGroupName::Path { name: name.to_owned() });
        }
        match name.char_indices().find(|(_, found)| found.is_control()) {
            Some((at, found)) => Err(InvalidGroupName::Control { at, found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MemberId {
    /// Checks an id.
    ///
    /// # Errors
    /// The rule that is broken, and where.
    pub fn new(id: &str) -> Result<Self, InvalidMemberId> {
        let (bytes, limit) = (id.len(), limits::MEMBER_ID_BYTES_MAX);
        if id.is_empty() {
            return Err(InvalidMemberId::Empty { limit });
        }
        if bytes > limit {
            return Err(InvalidMemberId::Length { bytes, limit });
        }
        let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-".contains(found);
        match id.char_indices().find(|(_, found)| !is_allowed(*found)) {
            Some((at, found)) => Err(InvalidMemberId::Character { at, found }),
            None => Ok(Self(id.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($name:ident, $error:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text!(GroupName, InvalidGroupName);
text!(MemberId, InvalidMemberId);

/// The life of a group between two changes of who reads what; 0 before the first. A group that is
/// made again after it was deleted goes on above: a shard gives no epoch of a group twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct GroupEpoch(u64);

impl GroupEpoch {
    /// Wraps a number that came from elsewhere.
    #[must_use]
    pub const fn new(epoch: u64) -> Self {
        Self(epoch)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for GroupEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_rule_is_named() {
        let group = |name: &str| GroupName::new(name).map(drop).map_err(|error| error.to_string());
        assert_eq!(group("Straße 7/räume"), Ok(()));
        assert_eq!(group(&"x".repeat(255)), Ok(()));
        for (name, words) in [
            ("", "a group needs a name"),
            (".", "\".\" is not allowed as a group name"),
            ("..", "\"..\" is not allowed as a group name"),
            ("a\nb", "the group name has the control character '\\n' at byte 1"),
            (&"x".repeat(256), "the group name has 256 bytes; at most 255 are allowed"),
        ] {
            assert_eq!(group(name), Err(words.to_owned()));
        }
        let member = |id: &str| MemberId::new(id).map(drop).map_err(|error| error.to_string());
        assert_eq!(member("sms-1_A.9"), Ok(()));
        for (id, words) in [
            ("", "it is empty; use 1 to 64 of A-Z a-z 0-9 . _ -"),
            ("a b", "it has ' ' at byte 1; use A-Z a-z 0-9 . _ -"),
            ("é", "it has 'é' at byte 0; use A-Z a-z 0-9 . _ -"),
            (&"x".repeat(65), "it has 65 bytes; at most 64 are allowed"),
        ] {
            assert_eq!(member(id), Err(words.to_owned()));
        }
    }
}
