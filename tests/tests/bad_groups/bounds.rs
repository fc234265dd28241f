//! Family: numbers and texts of a first request, at their bounds and beyond.

use anyhow::Result;
use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::ErrorCode::{InvalidGroup, Malformed, RequestTooLarge, UnknownGroup};

use crate::bench::{Bench, TOPIC};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::{joining, subscribing};

const GROUP: &str = "bad.bounds";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("bound");
    for (what, subscription, want) in refused() {
        let reply = call::join(bench, subscribing(GROUP, "one", subscription)).await;
        catalogue.case(what, want, &reply);
    }
    for (what, held, want) in held(bench) {
        let held = Some(v1::HeldPartitions { partitions: vec![held] });
        let reply = call::join(bench, v1::JoinRequest { held, ..joining(GROUP, "one") }).await;
        catalogue.case(format!("held: {what}"), want, &reply);
    }
    let want = (UnknownGroup, "there is no consumer group \"bad.bounds\"");
    let reply = call::describe(bench, GROUP).await;
    catalogue.case("no refused member began the group", want, &reply);
    for (what, subscription) in accepted() {
        let reply = call::join(bench, subscribing(GROUP, "one", subscription)).await;
        catalogue.case(what, Want::Accepted, &reply);
    }
    Ok(())
}

fn reading() -> v1::Subscription {
    v1::Subscription { topics: vec![TOPIC.to_owned()], ..v1::Subscription::default() }
}

fn session(session_timeout_ms: u32) -> v1::Subscription {
    v1::Subscription { session_timeout_ms, ..reading() }
}

fn processing(processing_timeout_ms: u32) -> v1::Subscription {
    v1::Subscription { processing_timeout_ms, ..reading() }
}

fn instance(instance_id: &str) -> v1::Subscription {
    v1::Subscription { instance_id: instance_id.to_owned(), ..reading() }
}

fn client(client: String) -> v1::Subscription {
    v1::Subscription { client, ..reading() }
}

type Case = (String, v1::Subscription, Want);

fn refused() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for ms in [1, 5_999, 1_800_001, u32::MAX] {
        let words =
            format!("session_timeout_ms is {ms}; it must be 6000 to 1800000, or 0 for the default");
        cases.push((format!("a session of {ms} ms"), session(ms), (Malformed, words).into()));
    }
    for ms in [1, 999, 86_400_001, u32::MAX] {
        let words = format!(
            "processing_timeout_ms is {ms}; it must be 1000 to 86400000, or 0 for the default"
        );
        cases.push((format!("processing of {ms} ms"), processing(ms), (Malformed, words).into()));
    }
    for assignor in [-1, 3, 99, i32::MAX, i32::MIN] {
        let words =
            format!("subscription.assignor: {assignor} is unknown; use 1 (uniform), 2 (range)");
        let subscription = v1::Subscription { assignor, ..reading() };
        cases.push((format!("assignor {assignor}"), subscription, (Malformed, words).into()));
    }
    for (what, id, words) in [
        ("65 bytes", "i".repeat(65), "instance_id: it has 65 bytes; at most 64 are allowed"),
        ("a blank", "desk 1".to_owned(), "instance_id: it has ' ' at byte 4"),
        ("NUL", "\0".to_owned(), "instance_id: it has '\\0' at byte 0"),
    ] {
        let want = Want::from((InvalidGroup, words));
        cases.push((format!("an instance id of {what}"), instance(&id), want));
    }
    let words = "subscription.client: 256 is above the limit of 255";
    let want = Want::from((RequestTooLarge, words));
    cases.push(("a client of 256 bytes".to_owned(), client("c".repeat(256)), want));
    cases
}

fn held(bench: &Bench) -> Vec<(String, v1::TopicPartitions, Want)> {
    let mut cases = Vec::new();
    for length in [0, 15, 17] {
        let topic_id = Bytes::from(vec![7; length]);
        let topic = v1::TopicPartitions { topic_id, partitions: vec![0], ..Default::default() };
        let words = format!("held.partitions[0].topic_id: a topic id has 16 bytes, {length} came");
        cases.push((format!("a topic id of {length} bytes"), topic, (Malformed, words).into()));
    }
    let words = "held.partitions: 200001 is above the limit of 200000";
    let want = Want::from((RequestTooLarge, words));
    cases.push(("200001 partitions".to_owned(), bench.partitions(0..200_001), want));
    cases
}

fn accepted() -> Vec<(&'static str, v1::Subscription)> {
    let range = v1::Subscription { assignor: v1::Assignor::Range.into(), ..reading() };
    vec![
        ("a session of 6000 ms is one", session(6_000)),
        ("a session of 1800000 ms is one", session(1_800_000)),
        ("processing of 1000 ms is fine", processing(1_000)),
        ("processing of 86400000 ms is fine", processing(86_400_000)),
        ("the range assignor is one", range),
        ("an instance id of 64 bytes is one", instance(&"i".repeat(64))),
        ("a client of 255 bytes is one", client("c".repeat(255))),
    ]
}
