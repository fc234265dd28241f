//! Family: where and how much a fetch may read.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::ErrorCode::{OffsetOutOfRange, RequestTooLarge};
use quipu_types::limits;
use quipu_types::record::ValidatedBatch;

use crate::batch::Batch;
use crate::bench::{Bench, Topic};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::refusal::Reply;
use crate::victim::Victim;

/// Ten batches of ten; the first offset kept lies within the third.
const BATCHES: u64 = 10;
const START: u64 = 25;
const END: u64 = 100;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("fetch");
    let topic = filled(bench, "bad.fetch").await?;
    trim(bench, &topic, START).await?;
    ranges(bench, catalogue, &topic).await?;
    amounts(bench, catalogue, &topic).await?;
    mixed(bench, catalogue, &topic).await
}

/// A topic with ten batches of ten records.
pub(crate) async fn filled(bench: &Bench, name: &str) -> Result<Topic> {
    let victim = Victim::create(bench, name, &[]).await?;
    for _ in 0..BATCHES {
        let reply = victim.send(Batch::of(10).done()).await?;
        reply.map_err(|refusal| anyhow!("fill {name}: {refusal}"))?;
    }
    Ok(victim.topic)
}

/// Removes what lies before an offset.
pub(crate) async fn trim(bench: &Bench, topic: &Topic, before: u64) -> Result<()> {
    let topic = topic.name.clone();
    let target = v1::DeleteRecordsTarget { topic, partition: 0, before_offset: Some(before) };
    let reply = call::delete_records(bench.any(), target).await?;
    let start = reply.map_err(|refusal| anyhow!("trim: {refusal}"))?.log_start;
    ensure!(start == before, "log start {start}, not {before}");
    Ok(())
}

fn position(topic: &Topic, offset: u64) -> v1::FetchPosition {
    v1::FetchPosition { topic_id: topic.id.clone(), partition: 0, offset, max_bytes: 0 }
}

async fn ranges(bench: &Bench, catalogue: &mut Catalogue, topic: &Topic) -> Result<()> {
    let most = i64::MAX.unsigned_abs();
    for offset in [0, 1, START - 1, END + 1, 1 << 40, most, most + 1, u64::MAX] {
        let call = async |node| call::fetch_one(&node, position(topic, offset)).await;
        let reply = bench.at_leader(topic, 0, call).await?;
        let fields = [("offset", offset), ("log_start", START), ("high_watermark", END)];
        let name = format!("offset {offset} of {START} to {END}");
        catalogue.case_with(name, OffsetOutOfRange, &fields, &reply);
    }
    for offset in [START, START + 1, END - 1] {
        let request = v1::FetchRequest { max_wait_ms: 1000, ..of(vec![position(topic, offset)]) };
        let reply = ask(bench, topic, request).await?;
        catalogue.judge(format!("offset {offset}"), begins_with(&reply, offset));
    }
    let request = v1::FetchRequest { max_wait_ms: 50, ..of(vec![position(topic, END)]) };
    let reply = ask(bench, topic, request).await?;
    catalogue.judge("the end is a place to wait at", holds(&reply, 0..=0));
    Ok(())
}

async fn amounts(bench: &Bench, catalogue: &mut Catalogue, topic: &Topic) -> Result<()> {
    let all = usize::try_from(END - 20)? / 10;
    let plain = || of(vec![position(topic, START)]);
    let at_most =
        |max_bytes: u32| of(vec![v1::FetchPosition { max_bytes, ..position(topic, START) }]);
    let cases = [
        ("no bound", plain(), all),
        ("max_bytes 1", v1::FetchRequest { max_bytes: 1, ..plain() }, 1),
        (
            "max_bytes of four thousand million",
            v1::FetchRequest { max_bytes: u32::MAX, ..plain() },
            all,
        ),
        ("max_bytes 1 for the partition", at_most(1), 1),
        ("max_bytes of four thousand million for the partition", at_most(u32::MAX), all),
        (
            "min_bytes above what is there, no wait",
            v1::FetchRequest { min_bytes: u32::MAX, ..plain() },
            all,
        ),
        (
            "min_bytes above what is there, a short wait",
            v1::FetchRequest { min_bytes: u32::MAX, max_wait_ms: 200, ..plain() },
            all,
        ),
        (
            "min_bytes above max_bytes",
            v1::FetchRequest { min_bytes: 9, max_bytes: 1, ..plain() },
            1,
        ),
        (
            "a wait of 49 days with records there",
            v1::FetchRequest { max_wait_ms: u32::MAX, ..plain() },
            all,
        ),
    ];
    for (name, request, batches) in cases {
        let reply = ask(bench, topic, request).await?;
        catalogue.judge(name, holds(&reply, batches..=batches));
    }
    Ok(())
}

/// Many positions, the same twice, good ones beside bad ones.
async fn mixed(bench: &Bench, catalogue: &mut Catalogue, topic: &Topic) -> Result<()> {
    let start = || position(topic, START);
    let twice = ask(bench, topic, of(vec![start(), start()])).await?;
    let both = twice.as_ref().map_or(0, |answer| answer.partitions.len());
    let judged = if both == 2 { Ok(()) } else { Err(anyhow!("{twice:?}")) };
    catalogue.judge("a partition twice", judged);

    let most = limits::REQUEST_PARTITIONS_MAX;
    let reply = ask(bench, topic, of(vec![position(topic, END); most])).await?;
    catalogue.case(format!("{most} positions"), Want::Accepted, &reply);
    for count in [most + 1, 50_000] {
        let reply = ask(bench, topic, of(vec![position(topic, END); count])).await?;
        catalogue.case(format!("{count} positions"), RequestTooLarge, &reply);
    }

    let bad = v1::FetchPosition { partition: 9, ..start() };
    let reply = ask(bench, topic, of(vec![bad, start(), position(topic, u64::MAX)])).await?;
    catalogue.judge("a good one between two bad ones", is_mixed(&reply));
    Ok(())
}

fn is_mixed(reply: &Reply<v1::FetchResponse>) -> Result<()> {
    let answer = reply.as_ref().map_err(|refusal| anyhow!("{refusal}"))?;
    let codes: Vec<&str> = answer
        .partitions
        .iter()
        .map(|it| it.error.as_ref().map_or("", |error| error.code.as_str()))
        .filter(|code| !code.is_empty())
        .collect();
    // Whether the good one comes with its records now or with the next answer is the server's.
    ensure!(codes == ["QP1205", "QP1501"], "codes {codes:?}");
    Ok(())
}

fn of(positions: Vec<v1::FetchPosition>) -> v1::FetchRequest {
    v1::FetchRequest { request_id: 41, positions, ..v1::FetchRequest::default() }
}

async fn ask(
    bench: &Bench,
    topic: &Topic,
    request: v1::FetchRequest,
) -> Result<Reply<v1::FetchResponse>> {
    bench.at_leader(topic, 0, async |node| call::fetch(&node, request.clone()).await).await
}

/// Whole batches, in a number within bounds, nothing behind them.
fn holds(reply: &Reply<v1::FetchResponse>, count: std::ops::RangeInclusive<usize>) -> Result<()> {
    let batches = batches(reply)?;
    ensure!(count.contains(&batches.len()), "{} batches, not {count:?}", batches.len());
    Ok(())
}

/// The first batch contains the offset.
fn begins_with(reply: &Reply<v1::FetchResponse>, offset: u64) -> Result<()> {
    let batches = batches(reply)?;
    let first = batches.first().ok_or_else(|| anyhow!("no batch"))?.header().base_offset.get();
    ensure!((first..first + 10).contains(&offset), "the first batch begins at {first}");
    Ok(())
}

fn batches(reply: &Reply<v1::FetchResponse>) -> Result<Vec<ValidatedBatch>> {
    let answer = reply.as_ref().map_err(|refusal| anyhow!("{refusal}"))?;
    ensure!(answer.request_id == 41, "request id {}", answer.request_id);
    let mut batches = Vec::new();
    for partition in &answer.partitions {
        ensure!(partition.error.is_none(), "{:?}", partition.error);
        let mut rest: Bytes = partition.records.clone();
        while !rest.is_empty() {
            batches.push(ValidatedBatch::split_first(&mut rest)?);
        }
    }
    Ok(batches)
}
