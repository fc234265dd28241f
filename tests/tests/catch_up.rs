//! A replica that is far behind catches up by the bytes it lacks, at a bounded rate, and goes on
//! where it was when the sender dies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic, NodeId};
use quipu_testkit::{Cluster, ClusterOptions, metrics, until};

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
    let page = metrics::scrape(node.metrics_address()).await?;
    let name = r#"quipu_snapshot_bytes_total{direction="in"}"#;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.map_or(Ok(0.0), |value| value.trim().parse())?)
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
