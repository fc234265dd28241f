//! D6: what a cluster does with fewer nodes than it has.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic};
use quipu_testkit::{Cluster, read_all, until};
use quipu_types::{Effect, ErrorCode};

const TOPIC: &str = "policy.updated";

async fn cluster() -> Result<(Cluster, Client)> {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(3)).await?;
    Ok((cluster, client))
}

fn record(text: &str) -> NewRecord {
    NewRecord::new(TOPIC, text.to_owned()).partition(0)
}

async fn leader(client: &Client) -> Result<u64> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    topic.partitions[0].leader.context("no leader")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_one_node_stop_without_two_and_resume() -> Result<()> {
    let (mut cluster, client) = cluster().await?;
    let producer = client.producer().delivery_timeout(Duration::from_secs(30)).build()?;
    producer.publish(record("all")).await?;

    cluster.node(1).kill()?;
    producer.publish(record("two of three")).await?;

    cluster.node(2).kill()?;
    // Without a producer id, which a lone node cannot hand out, the broker itself is asked.
    let short =
        client.producer().idempotent(false).delivery_timeout(Duration::from_secs(8)).build()?;
    let begun = Instant::now();
    until("a refusal", Duration::from_secs(60), || async {
        let error = short.publish(record("maybe")).await.err().context("one of three accepts")?;
        // What was proposed before the leader noticed has an unknown outcome.
        ensure!(error.code() == Some(ErrorCode::NotEnoughReplicas), "{error}");
        ensure!(error.effect() == Effect::None, "{error}");
        Ok(())
    })
    .await?;
    ensure!(begun.elapsed() < Duration::from_secs(30), "within the deadlines");

    cluster.start_all()?;
    cluster.wait_healthy().await?;
    producer.publish(record("again")).await?;
    let values: Vec<String> = read_all(&client, TOPIC)
        .await?
        .into_iter()
        .map(|record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned())
        .filter(|value| value != "maybe")
        .collect();
    ensure!(values == ["all", "two of three", "again"], "{values:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_leader_that_wakes_acknowledges_nothing_it_may_not() -> Result<()> {
    let (mut cluster, client) = cluster().await?;
    let producer = client.producer().build()?;
    producer.publish(record("before")).await?;
    let old = leader(&client).await?;
    let address = cluster.node(old).client_address();
    // A client that knows the old leader alone keeps asking it.
    let faithful = Client::builder(&format!("quipu://{address}")).service("test").connect().await?;
    let stubborn = faithful.producer().delivery_timeout(Duration::from_secs(60)).build()?;
    stubborn.publish(record("stubborn before")).await?;
    cluster.node(old).pause()?;
    let late = stubborn.enqueue(record("late")).await?;
    until("another leader", Duration::from_secs(30), || async {
        let now = leader(&client).await?;
        ensure!(now != old, "node {old} still counts as leader");
        Ok(())
    })
    .await?;
    producer.publish(record("during")).await?;
    cluster.node(old).resume()?;
    let receipt = late.await?;
    cluster.wait_healthy().await?;
    let records = read_all(&client, TOPIC).await?;
    let place = |text: &str| {
        records
            .iter()
            .filter(|record| record.value.as_deref() == Some(text.as_bytes()))
            .map(|record| record.offset)
            .collect::<Vec<_>>()
    };
    ensure!(place("during").len() == 1, "what the new leader acknowledged stands once");
    ensure!(
        place("late") == vec![receipt.offset.context("an offset")?],
        "acknowledged where it is"
    );
    Ok(())
}
