//! From names and patterns to topics.

use std::collections::{BTreeMap, BTreeSet};

use quipu_coordinator::TopicPartitions;
use quipu_metadata::Image;
use quipu_types::{TopicId, TopicName, limits};
use regex::{Regex, RegexBuilder};

use super::GroupError;

/// Bytes of a compiled pattern: a bound on what one member may cost.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// What a member wants to read, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of topics; they may be created later.
    pub topics: Vec<TopicName>,
    /// Regular expressions over whole names.
    pub patterns: Vec<String>,
}

impl Wanted {
    /// Checks names and patterns.
    ///
    /// # Errors
    /// `InvalidSubscription` says which is wrong.
    pub fn new(topics: &[String], patterns: &[String]) -> Result<Self, GroupError> {
        let invalid = |words: String| Err(GroupError::InvalidSubscription(words));
        let count = topics.len() + patterns.len();
        if count == 0 {
            return invalid("the subscription names no topic and no pattern".to_owned());
        }
        if count > limits::SUBSCRIPTION_TOPICS_MAX {
            let limit = limits::SUBSCRIPTION_TOPICS_MAX;
            return invalid(format!(
                "the subscription names {count} topics and patterns; at most {limit} are allowed"
            ));
        }
        let mut names = BTreeSet::new();
        for topic in topics {
            match TopicName::new(topic) {
                Ok(name) => drop(names.insert(name)),
                Err(error) => return invalid(format!("topic {topic:?}: {error}")),
            }
        }
        for pattern in patterns {
            if let Err(error) = compile(pattern) {
                return invalid(format!("pattern {pattern:?}: {error}"));
            }
        }
        let patterns: BTreeSet<&String> = patterns.iter().collect();
        Ok(Self {
            topics: names.into_iter().collect(),
            patterns: patterns.into_iter().cloned().collect(),
        })
    }

    /// The topics there are by now.
    pub(super) fn resolve(&self, image: &Image) -> Vec<TopicId> {
        resolve(&self.topics, &self.patterns, image)
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    // First by itself: a stray parenthesis must not reach beyond the pattern's own.
    build(pattern).and_then(|_| build(&format!("^(?:{pattern})$"))).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("it needs more than {limit} bytes when compiled")
        }
        regex::Error::Syntax(words) => {
            words.lines().last().unwrap_or("not a regular expression").to_owned()
        }
        other => other.to_string(),
    })
}

/// The ids of the topics named or matched, in order. Topics of the system match no pattern.
pub(super) fn resolve(topics: &[TopicName], patterns: &[String], image: &Image) -> Vec<TopicId> {
    let named = topics.iter().filter_map(|name| image.topic(name)).map(|topic| topic.id);
    let mut found: BTreeSet<TopicId> = named.collect();
    for pattern in patterns.iter().filter_map(|pattern| compile(pattern).ok()) {
        let matching = image.topics.iter().filter(|(name, _)| {
            !name.as_str().starts_with("__") && pattern.is_match(name.as_str())
        });
        found.extend(matching.map(|(_, topic)| topic.id));
    }
    found.into_iter().collect()
}

/// What the state machine is told of the topics: those that there are.
pub(super) fn counted(topics: &BTreeSet<TopicId>, image: &Image) -> Vec<TopicPartitions> {
    let known = topics.iter().filter_map(|id| image.topic_by_id(id));
    let counted: BTreeMap<TopicId, TopicPartitions> = known
        .map(|topic| {
            let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            (topic.id, TopicPartitions { topic: topic.id, name: topic.name.clone(), partitions })
        })
        .collect();
    counted.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_no_subscription_is_refused_with_its_reason() {
        let refused = |topics: &[&str], patterns: &[&str]| {
            Wanted::new(&words(topics), &words(patterns)).expect_err("refused").to_string()
        };
        assert_eq!(refused(&[], &[]), "the subscription names no topic and no pattern");
        assert!(refused(&["a/b"], &[]).starts_with("topic \"a/b\": "));
        assert!(refused(&[], &["("]).starts_with("pattern \"(\": "));
        assert!(refused(&[], &["a)|(b"]).starts_with("pattern \"a)|(b\": "));
        assert!(refused(&[], &["(a{1000}){1000}"]).contains("bytes when compiled"));
        let many: Vec<String> = (0..1001).map(|number| format!("t{number}")).collect();
        let refused = Wanted::new(&many, &[]).expect_err("too many").to_string();
        assert_eq!(
            refused,
            "the subscription names 1001 topics and patterns; at most 1000 are allowed"
        );
    }

    #[test]
    fn a_pattern_is_over_whole_names() {
        let pattern = compile("court|fees").expect("valid");
        assert!(pattern.is_match("court") && pattern.is_match("fees"));
        assert!(!pattern.is_match("court.case") && !pattern.is_match("late-fees"));
    }

    #[test]
    fn a_topic_named_twice_counts_once() {
        let wanted = Wanted::new(&words(&["b", "a", "b"]), &words(&["x", "x"])).expect("valid");
        assert_eq!((wanted.topics.len(), wanted.patterns.len()), (2, 1));
    }
}
