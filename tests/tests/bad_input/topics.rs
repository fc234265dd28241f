//! Family: creating, changing and deleting topics, and handing leaderships over.

use anyhow::{Context, Result, ensure};
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    InvalidConfig, InvalidPartitions, InvalidReplication, Malformed, TopicExists, UnknownTopic,
};

use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::config;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("topic");
    numbers(bench, catalogue).await?;
    configs(bench, catalogue).await?;
    existing(bench, catalogue).await?;
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
    let configs = |reply: crate::refusal::Reply<v1::TopicDescription>| {
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
) -> Result<crate::refusal::Reply<v1::AlterTopicResponse>> {
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
