//! Family: creating, changing, growing and deleting topics, and handing leaderships over.

use anyhow::{Context, Result, ensure};
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    InvalidConfig, InvalidPartitions, InvalidReplication, InvalidTopicName, Malformed, TopicExists,
    TopicProtected, UnknownTopic,
};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::config;
use crate::refusal::Reply;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("topic");
    numbers(bench, catalogue).await?;
    configs(bench, catalogue).await?;
    existing(bench, catalogue).await?;
    growing(bench, catalogue).await?;
    unknown(bench, catalogue).await?;
    transfers(bench, catalogue).await
}

/// A dry run of creating a topic.
fn dry(name: &str) -> v1::CreateTopicRequest {
    let name = name.to_owned();
    v1::CreateTopicRequest { name, validate_only: true, ..v1::CreateTopicRequest::default() }
}

async fn numbers(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    for partitions in [10_001, 1_000_000, u32::MAX] {
        let request = v1::CreateTopicRequest { partitions, ..dry("bad.numbers") };
        let reply = call::create(bench.any(), request).await?;
        catalogue.case(format!("{partitions} partitions"), InvalidPartitions, &reply);
    }
    for replication in [4, 5, 7, 8, 255, 256, 257, u32::MAX] {
        let request = v1::CreateTopicRequest { replication, ..dry("bad.numbers") };
        let reply = call::create(bench.any(), request).await?;
        let name = format!("{replication} replicas on three nodes");
        catalogue.case(name, InvalidReplication, &reply);
    }
    for (partitions, replication) in [(0, 0), (1, 3), (10_000, 3)] {
        let request = v1::CreateTopicRequest { partitions, replication, ..dry("bad.numbers") };
        let reply = call::create(bench.any(), request).await?;
        let name = format!("{partitions} partitions of {replication} replicas as a dry run");
        catalogue.case(name, Want::Accepted, &reply);
    }
    let reply = call::describe(bench.any(), "bad.numbers").await?;
    catalogue.case("no dry run created anything", UnknownTopic, &reply);
    Ok(())
}

async fn configs(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let topic = bench.topic("bad.configs", 1, &[]).await?;
    let before = call::describe(bench.any(), &topic.name).await?;
    for (key, value) in config::BAD {
        let pair = (String::from(*key), String::from(*value));
        let shown: String = value.chars().take(20).collect();
        let request =
            v1::CreateTopicRequest { config: [pair.clone()].into(), ..dry("bad.numbers") };
        let reply = call::create(bench.any(), request).await?;
        catalogue.case(format!("create with {key}={shown:?}"), InvalidConfig, &reply);

        let name = topic.name.clone();
        let request = v1::AlterTopicRequest { name, set: [pair].into(), ..Default::default() };
        let reply = alter(bench, request).await?;
        catalogue.case(format!("alter to {key}={shown:?}"), InvalidConfig, &reply);
    }
    for key in config::UNKNOWN {
        let (name, reset) = (topic.name.clone(), vec![String::from(*key)]);
        let request = v1::AlterTopicRequest { name, reset, ..Default::default() };
        let reply = alter(bench, request).await?;
        catalogue.case(format!("reset {key:?}"), InvalidConfig, &reply);
    }
    let after = call::describe(bench.any(), &topic.name).await?;
    let configs = |reply: Reply<v1::TopicDescription>| {
        reply.map(|topic| topic.config).map_err(|refusal| anyhow::anyhow!("{refusal}"))
    };
    let (before, after) = (configs(before)?, configs(after)?);
    let judged = (|| {
        ensure!(before == after, "{before:?} became {after:?}");
        Ok(())
    })();
    catalogue.judge("no refused change changed anything", judged);
    Ok(())
}

async fn alter(
    bench: &Bench,
    request: v1::AlterTopicRequest,
) -> Result<Reply<v1::AlterTopicResponse>> {
    let answered = call::bounded("alter", call::admin(bench.any()).alter_topic(request)).await?;
    Ok(call::settle(answered))
}

async fn existing(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let topic = bench.topic("bad.existing", 2, &[]).await?;
    for validate_only in [false, true] {
        for partitions in [2, 5] {
            let request = v1::CreateTopicRequest { partitions, validate_only, ..dry(&topic.name) };
            let reply = call::create(bench.any(), request).await?;
            let name = format!("again with {partitions} partitions, dry run {validate_only}");
            catalogue.case(name, TopicExists, &reply);
        }
    }
    let reply = call::create(bench.any(), dry("Bad.Existing")).await?;
    catalogue.case("another case is another name", Want::Accepted, &reply);
    Ok(())
}

/// A topic never has fewer partitions, and not more than may be; what is refused adds none.
async fn growing(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let topic = bench.topic("bad.growing", 4, &[]).await?;
    for validate_only in [false, true] {
        let how = if validate_only { "as a dry run" } else { "for real" };
        for total in [1, 3] {
            let reply = grow(bench, &topic.name, total, validate_only).await?;
            let fields = [("existing", 4), ("actual", u64::from(total))];
            let name = format!("{total} partitions where there are 4, {how}");
            catalogue.case_with(name, InvalidPartitions, &fields, &reply);
        }
        for total in [0, 10_001, 1_000_000, u32::MAX] {
            let reply = grow(bench, &topic.name, total, validate_only).await?;
            let fields = [("limit", 10_000), ("actual", u64::from(total))];
            let name = format!("growing to {total} partitions, {how}");
            catalogue.case_with(name, InvalidPartitions, &fields, &reply);
        }
        let reply = grow(bench, "bad.never.created", 8, validate_only).await?;
        catalogue.case(format!("growing an unknown one, {how}"), UnknownTopic, &reply);
        let same = grow(bench, &topic.name, 4, validate_only).await?;
        catalogue.case(format!("as many as there are, {how}"), Want::Accepted, &same);
        catalogue.note("it is no change", is_change(&same, (4, 4), false));
    }
    for (name, code) in
        [("", InvalidTopicName), ("a/b", InvalidTopicName), ("__offsets", TopicProtected)]
    {
        let reply = grow(bench, name, 8, false).await?;
        catalogue.case(format!("growing {name:?}"), code, &reply);
    }
    let reply = grow(bench, &topic.name, 10_000, true).await?;
    catalogue.case("growing to the limit as a dry run", Want::Accepted, &reply);
    catalogue.note("it would be a change", is_change(&reply, (4, 10_000), true));
    let described = call::describe(bench.any(), &topic.name).await?;
    let described = described.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let judged = (|| {
        let count = described.partitions.len();
        ensure!(count == 4, "{count} partitions");
        Ok(())
    })();
    catalogue.judge("no refused growth and no dry run added a partition", judged);

    let reply = grow(bench, &topic.name, 6, false).await?;
    catalogue.case("growing to 6 partitions", Want::Accepted, &reply);
    catalogue.note("it is a change", is_change(&reply, (4, 6), true));
    let reply = grow(bench, &topic.name, 5, false).await?;
    catalogue.case_with("taking one back", InvalidPartitions, &[("existing", 6)], &reply);
    Ok(())
}

/// From and to how many partitions, and whether that is told to be a change.
fn is_change(
    reply: &Reply<v1::AddPartitionsResponse>,
    counts: (u32, usize),
    is_changed: bool,
) -> Result<()> {
    let reply = reply.as_ref().map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let after = reply.topic.as_ref().context("the answer has no topic")?.partitions.len();
    let found = (reply.partitions_before, after);
    ensure!(found == counts, "{found:?} partitions, not {counts:?}");
    ensure!(reply.is_changed == is_changed, "is_changed is {}", reply.is_changed);
    Ok(())
}

async fn grow(
    bench: &Bench,
    name: &str,
    total: u32,
    validate_only: bool,
) -> Result<Reply<v1::AddPartitionsResponse>> {
    let name = name.to_owned();
    let request = v1::AddPartitionsRequest { name, total, validate_only, timeout_ms: 30_000 };
    let mut admin = call::admin(bench.any());
    let answered = call::bounded("add partitions", admin.add_partitions(request)).await?;
    Ok(call::settle(answered))
}

async fn unknown(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let name = || "bad.never.created".to_owned();
    let admin = || call::admin(bench.any());
    let request = v1::DeleteTopicRequest { name: name(), timeout_ms: 0 };
    let reply = call::bounded("delete", admin().delete_topic(request)).await?;
    catalogue.case("delete an unknown one", UnknownTopic, &call::settle(reply));
    let request = v1::AlterTopicRequest { name: name(), ..Default::default() };
    catalogue.case("alter an unknown one", UnknownTopic, &alter(bench, request).await?);
    let reply = call::describe(bench.any(), &name()).await?;
    catalogue.case("describe an unknown one", UnknownTopic, &reply);
    let reply = call::metadata_of(bench.any(), &name()).await?;
    catalogue.case("metadata of an unknown one", UnknownTopic, &reply);
    let reply = call::checksum(bench.any(), &name(), 0).await?;
    catalogue.case("checksum of an unknown one", UnknownTopic, &reply);
    let target = v1::DeleteRecordsTarget { topic: name(), partition: 0, before_offset: None };
    let reply = call::delete_records(bench.any(), target).await?;
    catalogue.case("delete records of an unknown one", UnknownTopic, &reply);
    Ok(())
}

/// Leaderships cannot be handed to whom nobody knows; every node says so in the same words.
async fn transfers(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let answer = call::cluster(bench.any()).describe(v1::DescribeClusterRequest {}).await?;
    let shard = answer.into_inner().shards.last().context("a cluster has shards")?.shard;
    for node in 1..=3 {
        for (shard, to_node) in [(4_000_000, 1), (u32::MAX, 1), (shard, 99), (shard, 0)] {
            let request = v1::TransferLeaderRequest { shard, to_node };
            let mut client = call::cluster(bench.channel(node));
            let reply = call::bounded("transfer", client.transfer_leader(request)).await?;
            let which = if shard < 4_000_000 { "a shard".to_owned() } else { shard.to_string() };
            let name = format!("hand {which} to node {to_node}, asked of node {node}");
            catalogue.case(name, Malformed, &call::settle(reply));
        }
    }
    Ok(())
}
