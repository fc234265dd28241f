//! Family: what a member wants to read.

use anyhow::Result;
use quipu_proto::v1;
use quipu_types::ErrorCode::{InvalidSubscription, Malformed, UnknownGroup};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::subscribing;

const GROUP: &str = "bad.subscriptions";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("subscription");
    let first = v1::JoinRequest {
        group: GROUP.to_owned(),
        member_id: "silent".to_owned(),
        ..v1::JoinRequest::default()
    };
    let want = (Malformed, "subscription: the first request names what to read");
    catalogue.case("none in the first request", want, &call::join(bench, first).await);
    for (what, topics, patterns, words) in counts() {
        let reply = call::join(bench, wanting(&topics, &patterns)).await;
        catalogue.case(what, (InvalidSubscription, words), &reply);
    }
    for (what, topic, words) in topics() {
        let reply = call::join(bench, wanting(std::slice::from_ref(&topic), &[])).await;
        catalogue.case(format!("a topic with {what}"), (InvalidSubscription, words), &reply);
    }
    for (pattern, words) in patterns() {
        let shown: String = pattern.chars().take(20).collect();
        let reply = call::join(bench, wanting(&[], std::slice::from_ref(&pattern))).await;
        let words = format!("pattern {pattern:?}: {words}");
        catalogue.case(format!("pattern {shown:?}"), (InvalidSubscription, words), &reply);
    }
    let want = (UnknownGroup, "there is no consumer group \"bad.subscriptions\"");
    let reply = call::describe(bench, GROUP).await;
    catalogue.case("no refused member began the group", want, &reply);
    accepted(bench, catalogue).await;
    Ok(())
}

fn wanting(topics: &[String], patterns: &[String]) -> v1::JoinRequest {
    let (topics, patterns) = (topics.to_vec(), patterns.to_vec());
    let subscription = v1::Subscription { topics, patterns, ..v1::Subscription::default() };
    subscribing(GROUP, "one", subscription)
}

type Counted = (&'static str, Vec<String>, Vec<String>, &'static str);

fn counts() -> Vec<Counted> {
    let many = |count: usize| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>();
    const TOO_MANY: &str =
        "the subscription names 1001 topics and patterns; at most 1000 are allowed";
    const NOTHING: &str = "the subscription names no topic and no pattern";
    vec![
        ("no topic and no pattern", Vec::new(), Vec::new(), NOTHING),
        ("1001 topics", many(1001), Vec::new(), TOO_MANY),
        ("1001 patterns", Vec::new(), many(1001), TOO_MANY),
        ("500 topics and 501 patterns", many(500), many(501), TOO_MANY),
        // What is named twice counts twice: the bound is on the work.
        ("one topic 1001 times", vec!["t".to_owned(); 1001], Vec::new(), TOO_MANY),
    ]
}

fn topics() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("no character", String::new(), "topic \"\": a topic name is empty"),
        ("a slash", "a/b".to_owned(), "topic \"a/b\": topic name \"a/b\" has '/' at byte 1"),
        ("NUL", "\0".to_owned(), "has '\\0' at byte 0"),
        ("an umlaut", "gebühr".to_owned(), "topic name \"gebühr\" has 'ü' at byte 3"),
        ("two dots", "..".to_owned(), "topic name \"..\" is a path component"),
        ("250 characters", "x".repeat(250), "a topic name has 250 bytes; at most 249 are allowed"),
        ("the internal prefix", "__offsets".to_owned(), "is kept for internal topics"),
    ]
}

fn patterns() -> Vec<(String, &'static str)> {
    let pattern = |text: &str| text.to_owned();
    vec![
        (pattern("("), "error: unclosed group"),
        (pattern("a)"), "error: unopened group"),
        (pattern("["), "error: unclosed character class"),
        (pattern("[z-a]"), "error: invalid character class range"),
        (pattern("*"), "error: repetition operator missing expression"),
        (pattern("a{2,1}"), "error: invalid repetition count range"),
        (pattern("(a)\\1"), "error: backreferences are not supported"),
        (pattern("(?=a)"), "error: look-around"),
        (pattern("(?z)"), "error: unrecognized flag"),
        (pattern("\\p{Nowhere}"), "error: Unicode property not found"),
        (format!("{}a{}", "(".repeat(300), ")".repeat(300)), "error: exceed the maximum number"),
        (pattern("(a{1000}){1000}"), "it needs more than 262144 bytes when compiled"),
        // Not a regular expression, though it is one between the server's own parentheses.
        (pattern("a)|(b"), "error: un"),
    ]
}

async fn accepted(bench: &Bench, catalogue: &mut Catalogue) {
    for pattern in ["", "|", "bad.none|", "(|)", "no[.]such[.]topic.*", "𝒳+"] {
        let reply = call::join(bench, wanting(&[], &[pattern.to_owned()])).await;
        catalogue.case(format!("pattern {pattern:?} is one"), Want::Accepted, &reply);
    }
    let thousand: Vec<String> = (0..1000).map(|number| format!("none.{number}")).collect();
    let reply = call::join(bench, wanting(&thousand, &[])).await;
    catalogue.case("1000 topics that are not there yet", Want::Accepted, &reply);
}
