//! The lab of the streaming document: publish three, stream from the start, stream what is new.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{End, NewRecord, NewTopic, Start};
use quipu_testkit::{Cluster, ClusterOptions};

const TOPIC: &str = "FeeUpdated";

fn fee(amount: u32) -> NewRecord {
    NewRecord::new(TOPIC, format!("{{\"amount\":{amount}}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earliest_shows_three_and_latest_only_what_is_new() -> Result<()> {
    let cluster =
        Cluster::start_with(ClusterOptions { nodes: 1, ..ClusterOptions::default() }).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    let producer = client.producer().build()?;
    for amount in [120, 125, 135] {
        producer.publish(fee(amount)).await?;
    }
    let mut all = client.replay(TOPIC).from(Start::Earliest).until(End::Never).open().await?;
    let mut new = client.replay(TOPIC).from(Start::Latest).until(End::Never).open().await?;
    for (offset, amount) in (0..).zip([120, 125, 135]) {
        let record = all.next().await.context("three are there")??;
        ensure!(record.offset == offset);
        ensure!(record.value.as_deref() == Some(format!("{{\"amount\":{amount}}}").as_bytes()));
    }
    producer.publish(fee(140)).await?;
    let first_new = tokio::time::timeout(Duration::from_secs(10), new.next())
        .await?
        .context("one is new")??;
    ensure!(first_new.offset == 3, "{first_new:?}");
    let mut from_two =
        client.replay(TOPIC).from(Start::Offset(2)).until(End::Latest).open().await?;
    let mut offsets = Vec::new();
    while let Some(record) = from_two.next().await {
        offsets.push(record?.offset);
    }
    ensure!(offsets == [2, 3], "{offsets:?}");
    Ok(())
}
