//! `quipu top`: what it says of a cluster is what was done to it, with a node dead, too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic};
use quipu_testkit::{Cluster, until};
use serde_json::Value;

use crate::quipu::Operator;

const WAIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "fees";
const PUBLISHED: u64 = 100;
const READ: u64 = 40;

async fn look(operator: &Operator) -> Result<Value> {
    let words = ["top", "--once", "--every", "300ms", "-o", "json"];
    let ended = operator.run(&words).await?.good()?;
    ensure!(ended.stdout.trim_end().lines().count() == 1, "one document: {ended:?}");
    ended.json()
}

fn row<'a>(view: &'a Value, table: &str, key: &str, name: &str) -> Result<&'a Value> {
    let rows = view[table].as_array().context("rows")?;
    let found = rows.iter().find(|row| row[key] == name);
    found.with_context(|| format!("{name} is not in {view}"))
}

/// What was published, what was read, who lives, and that every shard is led by one of them.
fn check(view: &Value, alive: &[u64]) -> Result<()> {
    let topic = row(view, "topics", "topic", TOPIC)?;
    ensure!(topic["records"] == PUBLISHED && topic["partitions"] == 1, "{topic}");
    let group = row(view, "groups", "group", "sms")?;
    ensure!(group["lag"] == PUBLISHED - READ && group["members"] == 0, "{group}");
    ensure!(group["catches_up_in_seconds"].is_null(), "nobody reads: {group}");
    let nodes = view["nodes"].as_array().context("nodes")?;
    ensure!(nodes.len() == 3, "{view}");
    let mut leads = 0;
    for node in nodes {
        let lives = node["node_id"].as_u64().is_some_and(|id| alive.contains(&id));
        ensure!(node["is_alive"] == lives, "{node}");
        ensure!(node["bytes_in_per_second"].is_number() == lives, "{node}");
        let led = node["leads"].as_u64().context("a number")?;
        ensure!(lives || led == 0, "the dead lead nothing: {node}");
        leads += led;
    }
    // Two for each node, and the metadata group.
    ensure!(leads == 7, "every shard has a leader: {view}");
    ensure!(view["is_healthy"] == (alive.len() == 3), "{view}");
    Ok(())
}

async fn publish_and_read(client: &Client) -> Result<()> {
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    for number in 0..PUBLISHED {
        client.publish(NewRecord::new(TOPIC, number.to_string())).await?;
    }
    let mut reader = client.subscribe([TOPIC]).group("sms").join().await?;
    for _ in 0..READ {
        reader.next().await.context("enough are there")??.ack().await?;
    }
    reader.shutdown(WAIT).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_says_what_was_done_to_a_cluster_with_a_node_dead_too() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let operator = Operator::of(&cluster)?;
    let client = cluster.client().await?;
    publish_and_read(&client).await?;
    until("a view of three nodes", WAIT, async || check(&look(&operator).await?, &[1, 2, 3]))
        .await?;

    cluster.node(3).kill()?;
    until("a view with a dead node", WAIT, async || check(&look(&operator).await?, &[1, 2]))
        .await?;

    // Rates, while somebody publishes.
    let load = async {
        loop {
            client.publish(NewRecord::new(TOPIC, "more")).await?;
        }
    };
    let rates = until("a rate of what is published", WAIT, async || {
        let view = look(&operator).await?;
        let pace = row(&view, "topics", "topic", TOPIC)?["records_per_second"].as_f64();
        ensure!(pace.context("a pace")? > 0.0, "{view}");
        let nodes = view["nodes"].as_array().context("nodes")?;
        let bytes_in = nodes.iter().filter_map(|node| node["bytes_in_per_second"].as_f64());
        ensure!(bytes_in.sum::<f64>() > 0.0, "{view}");
        Ok(())
    });
    tokio::select! {
        done = rates => done,
        failed = load => failed,
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() -> Result<()> {
    let operator = Operator::new()?;
    for flags in [&["--every", "0s"][..], &["--every", "soon"], &["-o", "raw"]] {
        let ended = operator.run(&[&["top", "--once"][..], flags].concat()).await?;
        ensure!(ended.code == Some(2), "{flags:?}: {ended:?}");
    }
    Ok(())
}
