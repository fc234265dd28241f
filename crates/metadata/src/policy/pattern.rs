//! Patterns over topic names.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use quipu_types::limits::TOPIC_NAME_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ANY: char = '*';

/// Which topics a policy is for: a name in which each `*` stands for any characters, none
/// included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InvalidPattern {
    /// No characters at all.
    #[error("a pattern is empty: write a name, or the beginning of one and *, such as audit.*")]
    Empty,
    /// Too long.
    #[error("a pattern has {actual} bytes; at most {TOPIC_NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        actual: usize,
    },
    /// A character that is in no name.
    #[error("pattern {pattern:?} has {found:?} at byte {at}: use only A-Z a-z 0-9 . _ - and *")]
    Character {
        /// As given.
        pattern: String,
        /// The first character that is not allowed.
        found: char,
        /// Where it stands.
        at: usize,
    },
}

impl TopicPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] says which part of the rule is broken, and where.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        if pattern.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if pattern.len() > TOPIC_NAME_BYTES_MAX {
            return Err(InvalidPattern::TooLong { actual: pattern.len() });
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ANY);
        if let Some((at, found)) = pattern.char_indices().find(|(_, c)| !is_allowed(*c)) {
            return Err(InvalidPattern::Character { pattern: pattern.to_owned(), found, at });
        }
        Ok(Self(pattern.into()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a whole name is meant. What is between two `*` is found where it comes first: no
    /// name takes more than one walk.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once(ANY) else { return *self.0 == *name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once(ANY).unwrap_or(("", rest));
        for part in middle.split(ANY) {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(last)
    }

    /// Greater for the more specific of two patterns: the one with the longer beginning, then a
    /// name rather than a pattern, then the one with more letters, then the first in the alphabet.
    pub(super) fn specificity(&self) -> impl Ord + '_ {
        let begins = self.0.find(ANY);
        let letters = self.0.chars().filter(|c| *c != ANY).count();
        (begins.unwrap_or(self.0.len()), begins.is_none(), letters, Reverse(self.as_str()))
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TopicPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::new(text).expect(text)
    }

    #[test]
    fn a_star_stands_for_any_characters_and_the_rest_for_itself() {
        for (text, yes, no) in [
            ("fees", vec!["fees"], vec!["fee", "fees2", "late.fees"]),
            ("audit.*", vec!["audit.", "audit.login", "audit.a.b"], vec!["audit", "xaudit.a"]),
            ("*", vec!["a", "a.b"], vec![]),
            ("*.dlq", vec![".dlq", "fees.dlq", "a.dlq.dlq"], vec!["dlq", "fees.dlq2"]),
            ("a*b*c", vec!["abc", "a.b.c", "abbcc", "abcbc"], vec!["ab", "ac", "abcb"]),
            ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
            ("a**a", vec!["aa", "aba"], vec!["a"]),
        ] {
            for name in yes {
                assert!(pattern(text).is_match(name), "{text} {name}");
            }
            for name in no {
                assert!(!pattern(text).is_match(name), "{text} {name}");
            }
        }
    }

    #[test]
    fn the_longer_beginning_is_more_specific_and_a_name_beats_a_pattern() {
        let rising = ["*", "*.a", "*.logs", "a*", "a.*", "a.*.logs", "a.b*", "a.b", "a.b.c*"];
        for pair in rising.windows(2) {
            let (less, more) = (pattern(pair[0]), pattern(pair[1]));
            assert!(less.specificity() < more.specificity(), "{less} {more}");
        }
        let twins = (pattern("a*x"), pattern("a*y"));
        assert!(twins.0.specificity() > twins.1.specificity(), "one of two is always chosen");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_place() {
        assert_eq!(TopicPattern::new(""), Err(InvalidPattern::Empty));
        let long = TopicPattern::new(&"x".repeat(250));
        assert_eq!(long, Err(InvalidPattern::TooLong { actual: 250 }));
        for (text, at) in [("a b", 1), ("a.?", 2), ("gebühr*", 3), ("^a", 0), ("a/*", 1)] {
            let Err(InvalidPattern::Character { at: found, .. }) = TopicPattern::new(text) else {
                panic!("{text}");
            };
            assert_eq!(found, at, "{text}");
        }
    }
}
