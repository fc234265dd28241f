//! Family: what operators ask of groups.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    GroupNotEmpty, InvalidCommit, Malformed, RequestTooLarge, UnknownGroup, UnknownPartition,
    UnknownTopicId,
};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::joining;

const GROUP: &str = "bad.operators";
const NONE: &str = "bad.operators.none";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("operator");
    let joined = call::join(bench, joining(GROUP, "one")).await;
    let mut seat = joined.map_err(|refusal| anyhow!("join: {refusal}"))?;
    let not_empty =
        || (GroupNotEmpty, "consumer group \"bad.operators\" has 1 members: stop them first");
    let reply = call::reset(bench, GROUP, vec![bench.position(0, 1)], false).await;
    catalogue.case("reset with a member, without fence", not_empty(), &reply);
    let reply = call::delete(bench, GROUP).await;
    catalogue.case("delete with a member", not_empty(), &reply);
    for (what, offset, want) in resets(bench) {
        let reply = call::reset(bench, GROUP, vec![bench.position(1, 1), offset], true).await;
        catalogue.case(format!("reset {what}"), want, &reply);
    }
    let many = (0..10_001).map(|partition| bench.position(partition, 1)).collect();
    let want = (RequestTooLarge, "offsets: 10001 is above the limit of 10000");
    catalogue.case("reset 10001", want, &call::reset(bench, GROUP, many, true).await);
    catalogue.case("no refused reset fenced anybody", Want::Accepted, &seat.beat().await);
    unknown(bench, catalogue).await;
    fetches(bench, catalogue).await;
    catalogue.case("the member leaves", Want::Accepted, &seat.leave().await);
    catalogue.case("delete without members", Want::Accepted, &call::delete(bench, GROUP).await);
    let want = (UnknownGroup, "there is no consumer group \"bad.operators\"");
    catalogue.case("delete it again", want, &call::delete(bench, GROUP).await);
    Ok(())
}

fn resets(bench: &Bench) -> Vec<(&'static str, v1::CommitOffset, Want)> {
    let of = |topic_id: &'static [u8]| v1::CommitOffset {
        topic_id: Bytes::from_static(topic_id),
        ..bench.position(0, 1)
    };
    let metadata = "a".repeat(4097);
    let long = v1::CommitOffset { metadata, ..bench.position(0, 1) };
    let bytes = "offsets[1].topic_id: a topic id has 16 bytes, 17 came";
    let above = "offset 9223372036854775808 is above 9223372036854775807";
    vec![
        ("of an unknown topic", of(&[7; 16]), (UnknownTopicId, "no topic has id 0707").into()),
        ("of an id of 17 bytes", of(&[7; 17]), (Malformed, bytes).into()),
        ("of an index beyond", bench.position(4, 1), (UnknownPartition, "no partition 4").into()),
        ("to an offset above", bench.position(0, 1 << 63), (InvalidCommit, above).into()),
        ("with long metadata", long, (InvalidCommit, "metadata has 4097 bytes").into()),
        ("of one named twice", bench.position(1, 2), (InvalidCommit, "it is named twice").into()),
    ]
}

/// A group nobody made.
async fn unknown(bench: &Bench, catalogue: &mut Catalogue) {
    let words = "there is no consumer group \"bad.operators.none\"";
    let reply = call::delete(bench, NONE).await;
    catalogue.case("delete an unknown one", (UnknownGroup, words), &reply);
    let reply = call::describe(bench, NONE).await;
    catalogue.case("describe an unknown one", (UnknownGroup, words), &reply);
    catalogue.judge("fetch of an unknown one", is_empty(bench, Vec::new()).await);
    let all = vec![bench.partitions(0..10_000)];
    catalogue.judge("fetch of 10000 partitions", is_empty(bench, all).await);
}

/// A group without positions has none: that is no error.
async fn is_empty(bench: &Bench, partitions: Vec<v1::TopicPartitions>) -> Result<()> {
    let fetched = call::fetch(bench, NONE, partitions).await;
    let stored = fetched.map_err(|refusal| anyhow!("{refusal}"))?.offsets;
    ensure!(stored.is_empty(), "stored {stored:?}");
    Ok(())
}

async fn fetches(bench: &Bench, catalogue: &mut Catalogue) {
    let want = Want::from((RequestTooLarge, "partitions: 10001 is above the limit of 10000"));
    let reply = call::fetch(bench, GROUP, vec![bench.partitions(0..10_001)]).await;
    catalogue.case("fetch of 10001 partitions", want.clone(), &reply);
    let spread = vec![bench.partitions(0..5_000), bench.partitions(0..5_001)];
    let reply = call::fetch(bench, GROUP, spread).await;
    catalogue.case("fetch of 10001 partitions in two parts", want, &reply);
    for length in [0, 15, 17] {
        let topic_id = Bytes::from(vec![7; length]);
        let topic = v1::TopicPartitions { topic_id, partitions: vec![0], ..Default::default() };
        let words = format!("partitions[0].topic_id: a topic id has 16 bytes, {length} came");
        let reply = call::fetch(bench, GROUP, vec![topic]).await;
        catalogue.case(format!("fetch of an id of {length} bytes"), (Malformed, words), &reply);
    }
}
