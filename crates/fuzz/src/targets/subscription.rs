//! Names and patterns of a subscription.

use quipu_broker::coordinator::Wanted;
use quipu_coordinator::{GroupName, MemberId};
use quipu_types::{TopicName, limits};

use crate::input::text;
use crate::{Seed, Verdict};

/// Before a line that is a pattern.
const PATTERN: char = '~';

/// The input: names of topics and, behind a tilde, patterns, one a line.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some(text) = text(input) else { return Verdict::Refused };
    names(text);
    let (mut topics, mut patterns) = (Vec::new(), Vec::new());
    for line in text.split('\n').take(20) {
        match line.strip_prefix(PATTERN) {
            Some(pattern) => patterns.push(pattern.to_owned()),
            None => topics.push(line.to_owned()),
        }
    }
    match Wanted::new(&topics, &patterns) {
        Ok(wanted) => {
            assert!(wanted.topics.len() <= topics.len());
            assert!(wanted.patterns.len() <= patterns.len());
            let names: Vec<String> = wanted.topics.iter().map(ToString::to_string).collect();
            let again = Wanted::new(&names, &wanted.patterns).expect("it was checked before");
            assert_eq!(again, wanted);
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            Verdict::Refused
        }
    }
}

fn names(text: &str) {
    for line in text.split('\n').take(20) {
        if let Ok(name) = TopicName::new(line) {
            assert!((1..=limits::TOPIC_NAME_BYTES_MAX).contains(&name.as_str().len()));
            assert!(!name.as_str().contains(['/', '\0', ' ']) && name.as_str() == line);
        }
        if let Ok(name) = GroupName::new(line) {
            assert!((1..=limits::GROUP_NAME_BYTES_MAX).contains(&name.as_str().len()));
        }
        if let Ok(id) = MemberId::new(line) {
            assert!((1..=limits::MEMBER_ID_BYTES_MAX).contains(&id.as_str().len()));
        }
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let seed = |text: &str| text.as_bytes().to_vec();
    vec![
        ("ok-name", seed("court.case.filed")),
        ("ok-both", seed("fees\n~court\\.[a-z]+\n~(a|b){2,5}c*?")),
        ("ok-classes", seed("~\\w+\\.\\d{3}\n~[[:alpha:]&&[^x]]+$")),
        ("ok-unicode", seed("~\\p{L}+(?i:straße)")),
        ("huge", seed("~(a{1000}){1000}")),
        ("open", seed("~a)|(b")),
    ]
}
