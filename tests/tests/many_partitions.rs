//! Ten thousand partitions of three replicas cost little: they are files and memory only once
//! somebody writes to them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, End, NewRecord, NewTopic};
use quipu_testkit::{Cluster, until};

const TOPICS: [&str; 2] = ["meters.north", "meters.south"];
const PARTITIONS: u32 = 5_000;
/// Partitions somebody writes to.
const WRITTEN: u32 = 1_000;
/// Files a node has open: those of its log, its tables, its connections, and a bounded number of
/// segments, whatever the number of partitions.
const FILES_MAX: usize = 1_200;
/// Memory of a replica that nobody writes to, most of all: the aim is 4 KiB, a debug build is
/// allowed twice that.
const IDLE_BYTES_MAX: u64 = 8 << 10;
const WAIT: Duration = Duration::from_secs(60);

fn of_process(cluster: &Cluster, at: usize, file: &str) -> Result<std::path::PathBuf> {
    let pid = cluster.nodes()[at].pid().context("it runs")?;
    Ok(Path::new("/proc").join(pid.to_string()).join(file))
}

/// Bytes of anonymous memory of a node.
fn memory(cluster: &Cluster, at: usize) -> Result<u64> {
    let status = std::fs::read_to_string(of_process(cluster, at, "status")?)?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("RssAnon")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib << 10)
}

fn open_files(cluster: &Cluster, at: usize) -> Result<usize> {
    Ok(std::fs::read_dir(of_process(cluster, at, "fd")?)?.count())
}

fn files_are_bounded(cluster: &Cluster) -> Result<()> {
    for at in 0..cluster.nodes().len() {
        let open = open_files(cluster, at)?;
        ensure!(open <= FILES_MAX, "node {} has {open} files open", at + 1);
    }
    Ok(())
}

/// Waits until every partition is led.
async fn are_led(client: &Client) -> Result<()> {
    for topic in TOPICS {
        until("a leader for every partition", WAIT, async || {
            let found = client.admin().describe_topic(topic).await?;
            let led = found.partitions.iter().filter(|it| it.leader.is_some()).count();
            ensure!(led == PARTITIONS as usize, "{led} of {PARTITIONS} partitions are led");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// One record for each of some partitions.
async fn write(client: &Client, value: &'static str) -> Result<()> {
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    let mut deliveries = Vec::new();
    for partition in 0..WRITTEN {
        let record = NewRecord::new(TOPICS[0], value).partition(partition);
        deliveries.push(producer.enqueue(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    producer.close(WAIT).await?;
    Ok(())
}

async fn count(client: &Client) -> Result<usize> {
    let mut reader = client.replay(TOPICS[0]).until(End::Latest).open().await?;
    let mut count = 0;
    while let Some(record) = reader.next().await {
        record?;
        count += 1;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_nobody_writes_to_cost_no_files_and_little_memory() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let before: Vec<u64> = (0..3).map(|at| memory(&cluster, at)).collect::<Result<_>>()?;
    for topic in TOPICS {
        client.admin().create_topic(NewTopic::new(topic).partitions(PARTITIONS)).await?;
    }
    are_led(&client).await?;
    let replicas = u64::try_from(TOPICS.len())? * u64::from(PARTITIONS);
    for (at, before) in before.iter().enumerate() {
        let each = memory(&cluster, at)?.saturating_sub(*before) / replicas;
        ensure!(each <= IDLE_BYTES_MAX, "node {}: {each} bytes for each replica", at + 1);
    }
    files_are_bounded(&cluster)?;

    write(&client, "first").await?;
    files_are_bounded(&cluster)?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    are_led(&client).await?;
    write(&client, "second").await?;
    let read = count(&client).await?;
    ensure!(read == 2 * WRITTEN as usize, "{read} records");
    files_are_bounded(&cluster)
}
