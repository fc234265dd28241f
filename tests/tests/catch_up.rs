//! A replica that is far behind catches up by the bytes it lacks, at a bounded rate, and goes on
//! where it was when the sender dies.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic, NodeId};
use quipu_testkit::{Cluster, ClusterOptions, metrics, until};
use serde_json::Value;

const TOPIC: &str = "court.exhibits";
const RECORD_BYTES: usize = 100 << 10;
/// More entries than a checkpoint leaves in the journal.
const RECORDS: usize = 600;
const ALL_BYTES: f64 = (RECORD_BYTES * RECORDS) as f64;
const WAIT: Duration = Duration::from_secs(120);

fn settings() -> Vec<String> {
    let settings = [
        "cluster.shards-per-node=1",
        "journal.file-bytes=4MiB",
        "storage.checkpoint-interval=1s",
        "storage.journal-entries-kept=0",
        "limits.catch-up-rate=6MiB",
        "log.format=text",
    ];
    settings.map(str::to_owned).into()
}

async fn leader(client: &Client) -> Result<u64> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    topic.partitions[0].leader.context("nobody leads")
}

/// Bytes of snapshots that a node received.
async fn received(cluster: &Cluster, node: u64) -> Result<f64> {
    let node = cluster.nodes().iter().find(|it| it.id() == node).context("a node")?;
    metrics::of(node, "quipu_snapshot_bytes_total", &["direction=\"in\""]).await
}

/// What `quipu partition describe` says of the one partition, for scripts.
async fn described(cluster: &Cluster) -> Result<Value> {
    let servers = cluster.url().trim_start_matches("quipu://").to_owned();
    let output = tokio::process::Command::new(quipu_testkit::quipu_binary()?)
        .args(["partition", "describe", TOPIC, "0", "-o", "json"])
        .env("QUIPU_SERVERS", servers)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Of a node's replica.
fn replica(described: &Value, node: u64) -> Result<Value> {
    let replicas = described["replicas"].as_array().context("replicas")?;
    let found = replicas.iter().find(|replica| replica["node"] == node);
    found.cloned().with_context(|| format!("no node {node} in {described}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_is_shown_with_a_number_that_moves_until_it_is_in_sync() -> Result<()> {
    let options = ClusterOptions { settings: settings(), ..<_>::default() };
    let mut cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(1)).await?;
    let first = until("a leader", WAIT, || leader(&client)).await?;
    let behind = (1..=3).find(|node| *node != first).context("three nodes")?;
    cluster.node(behind).kill()?;
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    for number in 0..RECORDS {
        let value = vec![u8::try_from(number % 251)?; RECORD_BYTES];
        producer.publish(NewRecord::new(TOPIC, value).partition(0)).await?;
    }
    let away = replica(&described(&cluster).await?, behind)?;
    ensure!(away["state"] == "unreachable" && away["problem"].is_string(), "{away}");
    cluster.node(behind).start()?;

    // Bytes and records grow, none is counted twice, and what the node counts agrees.
    let (seen, moved) = (AtomicU64::new(0), AtomicUsize::new(0));
    until("a number that moves", WAIT, async || {
        let described = described(&cluster).await?;
        let shown = replica(&described, behind)?;
        ensure!(shown["state"] == "receives-snapshot", "{shown}");
        let transfer = &shown["transfer"];
        let number = |field: &str| transfer[field].as_u64().with_context(|| format!("{shown}"));
        ensure!(number("records_total")? <= RECORDS as u64, "{shown}");
        let (bytes, before) = (number("bytes_done")?, seen.load(Ordering::Relaxed));
        ensure!(bytes >= before, "{shown} after {before}");
        ensure!(described["is_in_sync"] == false, "{described}");
        let ready = probe(&cluster, behind).await?;
        ensure!(ready.starts_with("HTTP/1.1 503") && ready.contains("entries behind"), "{ready}");
        ensure!(shown["lag_records"].as_u64() >= Some(number("records_total")? / 2), "{shown}");
        let counted = received(&cluster, behind).await?;
        ensure!(bytes as f64 <= counted, "{counted} bytes are counted: {shown}");
        moved.fetch_add(usize::from(bytes > before), Ordering::Relaxed);
        seen.store(bytes, Ordering::Relaxed);
        let times = moved.load(Ordering::Relaxed);
        if times > 2 {
            let rate = number("bytes_per_second")? as f64;
            ensure!(rate > 100_000.0 && rate < 30e6, "{shown}");
            let total = number("bytes_total")? as f64;
            ensure!(total > ALL_BYTES * 0.8 && total < ALL_BYTES * 1.2, "{shown}");
            ensure!(number("eta_ms")? < 600_000, "{shown}");
        }
        ensure!(times > 3, "it moved {times} times");
        Ok(())
    })
    .await?;
    until("all in sync", WAIT, async || {
        let described = described(&cluster).await?;
        let shown = replica(&described, behind)?;
        ensure!(described["is_in_sync"] == true, "{described}");
        ensure!(shown["state"] == "in-sync" && shown["transfer"].is_null(), "{shown}");
        ensure!(shown["high_watermark"] == RECORDS, "{shown}");
        let ready = probe(&cluster, behind).await?;
        ensure!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        Ok(())
    })
    .await
}

/// Whether a node calls itself ready.
async fn probe(cluster: &Cluster, node: u64) -> Result<String> {
    let node = cluster.nodes().iter().find(|it| it.id() == node).context("a node")?;
    metrics::get(node.metrics_address(), "/health/ready").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_with_another_sender_where_it_was() -> Result<()> {
    let options = ClusterOptions { settings: settings(), ..<_>::default() };
    let mut cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(1)).await?;
    let first = until("a leader", WAIT, || leader(&client)).await?;
    let behind = (1..=3).find(|node| *node != first).context("three nodes")?;
    cluster.node(behind).kill()?;
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    for number in 0..RECORDS {
        // One entry each.
        let value = vec![u8::try_from(number % 251)?; RECORD_BYTES];
        producer.publish(NewRecord::new(TOPIC, value).partition(0)).await?;
    }
    let sender = until("a leader", WAIT, || leader(&client)).await?;
    ensure!(sender != behind, "it is down");
    cluster.node(behind).start()?;
    until("a part of it to arrive", WAIT, async || {
        let bytes = received(&cluster, behind).await?;
        ensure!(bytes > ALL_BYTES / 4.0, "{bytes} bytes");
        Ok(())
    })
    .await?;
    let before = received(&cluster, behind).await?;
    ensure!(before < ALL_BYTES * 0.9, "{before} bytes came at once: no rate is kept");
    cluster.node(sender).kill()?;
    let other = (1..=3).find(|node| ![sender, behind].contains(node)).context("three nodes")?;
    until("the replicas that are left to be alike", WAIT, async || {
        let admin = client.admin();
        let of = async |node| admin.partition_checksum(NodeId::new(node), TOPIC, 0).await;
        let (mine, theirs) = (of(behind).await?, of(other).await?);
        let is_all = mine.high_watermark == u64::try_from(RECORDS)?;
        ensure!(is_all && mine.crc32c == theirs.crc32c, "{mine:?} {theirs:?}");
        Ok(())
    })
    .await?;
    let after = received(&cluster, behind).await?;
    let log = cluster.node(behind).log();
    ensure!(after < ALL_BYTES * 1.2, "{after} bytes came, {before} before the sender died");
    let is_resumed = |line: &&str| line.contains("here already") && !line.contains("resumed=0 ");
    ensure!(log.lines().any(|line| is_resumed(&line)), "nothing was continued: {log}");
    Ok(())
}
