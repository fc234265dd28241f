//! Families: looking offsets up, and deleting records.

use anyhow::{Result, anyhow, ensure};
use quipu_proto::v1;
use quipu_proto::v1::offset_query::At;
use quipu_types::ErrorCode::{Malformed, OffsetOutOfRange, RequestTooLarge};
use quipu_types::limits;

use crate::batch::TIME;
use crate::bench::{Bench, Topic};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::fetch::{filled, trim};
use crate::refusal::{Refusal, Reply};

const START: u64 = 25;
const END: u64 = 100;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("list offsets");
    let topic = filled(bench, "bad.offsets").await?;
    trim(bench, &topic, START).await?;
    lookups(bench, catalogue, &topic).await?;
    catalogue.family("delete records");
    deletions(bench, catalogue, &topic).await
}

fn query(topic: &Topic, at: Option<At>) -> v1::OffsetQuery {
    v1::OffsetQuery { topic_id: topic.id.clone(), partition: 0, at }
}

async fn lookup(bench: &Bench, topic: &Topic, at: Option<At>) -> Result<Reply<v1::OffsetAnswer>> {
    let query = query(topic, at);
    bench.at_leader(topic, 0, async |node| call::offset(&node, query.clone()).await).await
}

async fn lookups(bench: &Bench, catalogue: &mut Catalogue, topic: &Topic) -> Result<()> {
    let earliest = Some(At::Earliest(v1::Earliest {}));
    let latest = Some(At::Latest(v1::Latest {}));
    let time = |at: i64| Some(At::TimestampMs(at));
    let cases = [
        ("earliest", earliest, START..=START),
        ("latest", latest, END..=END),
        // A lookup by time may point to the start of a batch.
        ("the least time", time(i64::MIN), START..=START),
        ("a time before 1970", time(-1), START..=START),
        ("1970", time(0), START..=START),
        ("the time of the last record of a batch", time(TIME + 9), START..=29),
    ];
    for (name, at, expected) in cases {
        let reply = lookup(bench, topic, at).await?;
        let found = reply.as_ref().ok().and_then(|answer| answer.offset);
        let judged = match found {
            Some(offset) if expected.contains(&offset) => Ok(()),
            _ => Err(anyhow!("wanted {expected:?}, saw {reply:?}")),
        };
        catalogue.judge(name, judged);
    }
    for (name, at) in [("a time after the last record", TIME + 10), ("the largest time", i64::MAX)]
    {
        let reply = lookup(bench, topic, time(at)).await?;
        let judged = match &reply {
            Ok(answer) if answer.offset.is_none() => Ok(()),
            _ => Err(anyhow!("wanted no offset, saw {reply:?}")),
        };
        catalogue.judge(name, judged);
    }
    let reply = lookup(bench, topic, None).await?;
    catalogue.case("a query that does not say which", Malformed, &reply);
    let count = limits::REQUEST_PARTITIONS_MAX + 1;
    let queries = vec![query(topic, earliest); count];
    let request = v1::ListOffsetsRequest { queries, timeout_ms: 0 };
    let answered = call::bounded("offsets", call::log(bench.any()).list_offsets(request)).await?;
    let reply = answered.map_err(Refusal::from);
    catalogue.case(format!("{count} queries"), RequestTooLarge, &reply);
    Ok(())
}

async fn deletions(bench: &Bench, catalogue: &mut Catalogue, topic: &Topic) -> Result<()> {
    let most = i64::MAX.unsigned_abs();
    for node in 1..=3 {
        for before in [END + 1, most, most + 1, u64::MAX] {
            let reply = delete(bench, node, topic, Some(before)).await?;
            let fields = [("offset", before), ("log_start", START), ("high_watermark", END)];
            let name = format!("before {before} of {END}, asked of node {node}");
            catalogue.case_with(name, OffsetOutOfRange, &fields, &reply);
        }
        for before in [0, START - 1, START] {
            let reply = delete(bench, node, topic, Some(before)).await?;
            let name = format!("before {before}, which is gone, asked of node {node}");
            catalogue.judge(name, starts_at(&reply, START));
        }
    }
    let count = limits::REQUEST_PARTITIONS_MAX + 1;
    let targets = vec![target(topic, Some(START)); count];
    let request = v1::DeleteRecordsRequest { targets, timeout_ms: 0 };
    let mut admin = call::admin(bench.any());
    let answered = call::bounded("delete records", admin.delete_records(request)).await?;
    let reply = answered.map_err(Refusal::from);
    catalogue.case(format!("{count} targets"), RequestTooLarge, &reply);

    let reply = delete(bench, 1, topic, None).await?;
    catalogue.judge("everything", starts_at(&reply, END));
    for (name, at) in [
        ("earliest is the end", At::Earliest(v1::Earliest {})),
        ("latest still is the end", At::Latest(v1::Latest {})),
    ] {
        let reply = lookup(bench, topic, Some(at)).await?;
        let found = reply.as_ref().ok().and_then(|answer| answer.offset);
        let judged = if found == Some(END) { Ok(()) } else { Err(anyhow!("{reply:?}")) };
        catalogue.judge(name, judged);
    }
    let position = |offset| v1::FetchPosition {
        topic_id: topic.id.clone(),
        partition: 0,
        offset,
        max_bytes: 0,
    };
    let last = async |node| call::fetch_one(&node, position(END - 1)).await;
    let reply = bench.at_leader(topic, 0, last).await?;
    let fields = [("log_start", END), ("high_watermark", END)];
    catalogue.case_with("the last record is gone", OffsetOutOfRange, &fields, &reply);
    let request = v1::FetchRequest { positions: vec![position(END)], ..Default::default() };
    let fetch = async |node| call::fetch(&node, request.clone()).await;
    let reply = bench.at_leader(topic, 0, fetch).await?;
    catalogue.case("the end is still a place to read at", Want::Accepted, &reply);
    Ok(())
}

fn target(topic: &Topic, before_offset: Option<u64>) -> v1::DeleteRecordsTarget {
    v1::DeleteRecordsTarget { topic: topic.name.clone(), partition: 0, before_offset }
}

/// Any node does it; an election under way is waited for.
async fn delete(
    bench: &Bench,
    node: u64,
    topic: &Topic,
    before: Option<u64>,
) -> Result<Reply<v1::DeleteRecordsResult>> {
    let target = target(topic, before);
    let delete = async |_| call::delete_records(bench.channel(node), target.clone()).await;
    bench.at_leader(topic, 0, delete).await
}

fn starts_at(reply: &Reply<v1::DeleteRecordsResult>, start: u64) -> Result<()> {
    let result = reply.as_ref().map_err(|refusal| anyhow!("{refusal}"))?;
    ensure!(result.log_start == start, "log start {}, not {start}", result.log_start);
    Ok(())
}
