//! Family: what a member says after it joined.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    InvalidSubscription, Malformed, RequestTooLarge, UnknownGroup, UnknownMember,
};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::joining;

const GROUP: &str = "bad.members";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("member");
    unknown(bench, catalogue).await?;
    for (at, (what, request, want)) in requests(bench).into_iter().enumerate() {
        let member = format!("m-{at}");
        let joined = call::join(bench, joining(GROUP, &member)).await;
        let mut seat = joined.map_err(|refusal| anyhow!("join before {what}: {refusal}"))?;
        catalogue.case(&what, want, &seat.say(request).await);
        catalogue.case(
            format!("the stream is over after {what}"),
            Want::Accepted,
            &seat.last().await,
        );
        // It said nonsense, yet it is a member for as long as its session lasts.
        let again = v1::JoinRequest { epoch: seat.epoch, ..joining(GROUP, &member) };
        let again = call::join(bench, again).await;
        catalogue.case(format!("it may go on after {what}"), Want::Accepted, &again);
    }
    Ok(())
}

/// Epochs of members nobody knows: they are asked to join anew.
async fn unknown(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    const WORDS: &str = "does not know member ghost (any more): it was expired, fenced or \
                         replaced. It has to drop everything and join again with epoch 0";
    let ghost = |epoch: u64| v1::JoinRequest { epoch, ..joining(GROUP, "ghost") };
    let reply = call::join(bench, ghost(7)).await;
    catalogue.case("an epoch in a group nobody made", (UnknownMember, WORDS), &reply);
    let reply = call::describe(bench, GROUP).await;
    let want = (UnknownGroup, "there is no consumer group \"bad.members\"");
    catalogue.case("that did not begin the group", want, &reply);
    let joined = call::join(bench, joining(GROUP, "known")).await;
    let mut seat = joined.map_err(|refusal| anyhow!("join: {refusal}"))?;
    for epoch in [1, u64::MAX] {
        let reply = call::join(bench, ghost(epoch)).await;
        catalogue.case(format!("epoch {epoch} of a ghost"), (UnknownMember, WORDS), &reply);
    }
    catalogue.case("the member that is there stays", Want::Accepted, &seat.beat().await);
    Ok(())
}

fn requests(bench: &Bench) -> Vec<(String, v1::JoinRequest, Want)> {
    let mut cases: Vec<(String, v1::JoinRequest, Want)> = Vec::new();
    for leaving in [-1, 4, 99] {
        let request = v1::JoinRequest { leaving, ..v1::JoinRequest::default() };
        let words = format!("leaving: {leaving} is unknown; use 0 to 3");
        cases.push((format!("leaving {leaving}"), request, (Malformed, words).into()));
    }
    let wanting = |topics: &[&str], patterns: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|it| String::from(*it)).collect();
        let (topics, patterns) = (owned(topics), owned(patterns));
        let subscription = v1::Subscription { topics, patterns, ..Default::default() };
        v1::JoinRequest { subscription: Some(subscription), ..v1::JoinRequest::default() }
    };
    for (what, request, words) in [
        ("a wish for nothing", wanting(&[], &[]), "the subscription names no topic and no pattern"),
        ("a wish for a bad name", wanting(&["a/b"], &[]), "topic \"a/b\": topic name"),
        ("a wish for a bad pattern", wanting(&[], &["("]), "pattern \"(\": error: unclosed group"),
    ] {
        cases.push((what.to_owned(), request, (InvalidSubscription, words).into()));
    }
    let holding = |topic: v1::TopicPartitions| {
        let held = Some(v1::HeldPartitions { partitions: vec![topic] });
        v1::JoinRequest { held, ..v1::JoinRequest::default() }
    };
    let topic_id = Bytes::from_static(&[7; 15]);
    let short = v1::TopicPartitions { topic_id, partitions: vec![0], ..Default::default() };
    let words = "held.partitions[0].topic_id: a topic id has 16 bytes, 15 came";
    cases.push(("holding a short id".to_owned(), holding(short), (Malformed, words).into()));
    let words = "held.partitions: 200001 is above the limit of 200000";
    let want = Want::from((RequestTooLarge, words));
    cases.push(("holding too many".to_owned(), holding(bench.partitions(0..200_001)), want));
    cases
}
