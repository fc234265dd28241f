//! Nodes that are expected not to come up.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic};
use quipu_testkit::{Cluster, ClusterOptions, read_all};

use crate::quipu::{self, Ended};

pub(crate) const TOPIC: &str = "survivors";
/// How long a node may take to find out that it must not run.
const WAIT: Duration = Duration::from_secs(40);

/// A cluster with records in it.
pub(crate) async fn cluster(nodes: u64, records: usize) -> Result<(Cluster, Client)> {
    let cluster =
        Cluster::start_with(ClusterOptions { nodes, ..ClusterOptions::default() }).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    // Many writes rather than one: each vouches for those before it.
    for begin in (0..records).step_by(20) {
        publish(&client, begin..records.min(begin + 20)).await?;
    }
    Ok((cluster, client))
}

/// Publishes numbered records; all are acknowledged by a quorum.
pub(crate) async fn publish(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    let mut deliveries = Vec::new();
    for number in numbers {
        let text = format!("{number}: {}", "x".repeat(100));
        deliveries.push(producer.enqueue(NewRecord::new(TOPIC, text)).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}

/// Exactly these records are there, in order.
pub(crate) async fn holds(client: &Client, count: usize) -> Result<()> {
    let records = read_all(client, TOPIC).await?;
    ensure!(records.len() == count, "{} records, not {count}", records.len());
    for (number, record) in records.iter().enumerate() {
        let value = record.value.clone().unwrap_or_default();
        let begin = format!("{number}: ");
        ensure!(value.starts_with(begin.as_bytes()), "record {number} is {value:?}");
    }
    Ok(())
}

/// Runs `quipu serve` on a directory by hand, as another process than the cluster's own.
pub(crate) async fn serve(id: u64, data: &Path) -> Result<Ended> {
    let settings = [
        format!("node.id={id}"),
        format!("node.data-dir={}", data.display()),
        "listeners.client=127.0.0.1:0".to_owned(),
        "listeners.peer=127.0.0.1:0".to_owned(),
        "listeners.metrics=127.0.0.1:0".to_owned(),
        "log.format=text".to_owned(),
    ];
    let mut args = vec!["serve"];
    for setting in &settings {
        args.extend(["--set", setting.as_str()]);
    }
    quipu::run(&args, &[]).await
}

/// The directory is refused: the last words are the sentence, the exit code says failure.
pub(crate) async fn is_refused(id: u64, data: &Path, sentence: &str) -> Result<()> {
    let Ended { code, stderr } = serve(id, data).await?;
    let last = stderr.lines().last().unwrap_or_default();
    ensure!(code == Some(1), "exit code {code:?}: {stderr}");
    ensure!(
        last.starts_with("error: ") && last.ends_with(sentence),
        "wanted {sentence:?}: {stderr}"
    );
    Ok(())
}

/// Starts a node of the cluster; it must end by itself, its log ending in all of these words.
pub(crate) async fn gives_up(cluster: &mut Cluster, id: u64, words: &[&str]) -> Result<()> {
    let node = cluster.node(id);
    let before = node.log().len();
    node.start()?;
    let ended = node.wait_exit(WAIT).await;
    let log = node.log().split_off(before);
    let status = ended.with_context(|| format!("it ran on: {}", tail(&log)))?;
    ensure!(status.code() == Some(1), "{status}: {}", tail(&log));
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "wanted {word:?} in the last line: {}", tail(&log));
    }
    others_live(cluster, id)
}

/// What one node does to itself is no business of the others.
pub(crate) fn others_live(cluster: &mut Cluster, id: u64) -> Result<()> {
    let others: Vec<u64> = cluster.nodes().iter().map(|node| node.id()).collect();
    for other in others.into_iter().filter(|other| *other != id) {
        let node = cluster.node(other);
        ensure!(!node.has_died(), "node {id} took node {other} down: {}", tail(&node.log()));
    }
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Starts what does not run and waits until all is well.
pub(crate) async fn recover(cluster: &mut Cluster) -> Result<()> {
    cluster.start_all()?;
    cluster.wait_healthy().await
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
