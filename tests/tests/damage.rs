//! What rots on one node is found, never served, and fetched from another.

#[path = "damage/compacted.rs"]
mod compacted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, End, ErrorCode, NewRecord, NewTopic, Record};
use quipu_testkit::{Cluster, ClusterOptions, metrics, replicas, until};

const TOPIC: &str = "court.evidence";
const WAIT: Duration = Duration::from_secs(60);
/// Three segments of 1 MiB and a part of a fourth.
const RECORDS: usize = 220;
const RECORD_BYTES: usize = 16 << 10;

async fn start(scrub_interval: &str, nodes: u64) -> Result<(Cluster, Client)> {
    let mut options = ClusterOptions { nodes, ..<_>::default() };
    options.settings.push("cluster.shards-per-node=1".to_owned());
    options.settings.push("storage.checkpoint-interval=300ms".to_owned());
    options.settings.push(format!("storage.scrub-interval={scrub_interval}"));
    let cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC).set("segment-bytes", "1MiB");
    client.admin().create_topic(topic).await?;
    write(&client, 0..RECORDS).await?;
    Ok((cluster, client))
}

async fn write(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    for number in numbers {
        drop(producer.enqueue(NewRecord::new(TOPIC, value(number)).partition(0)).await?);
        if number % 3 == 0 {
            producer.flush().await?;
        }
    }
    producer.close(WAIT).await?;
    Ok(())
}

fn value(number: usize) -> Vec<u8> {
    format!("{number:08}").into_bytes().into_iter().cycle().take(RECORD_BYTES).collect()
}

/// Every record there is, each compared with what was written.
async fn read_all(client: &Client, count: usize) -> Result<()> {
    let mut reader = client.replay(TOPIC).until(End::Latest).open().await?;
    let mut records: Vec<Record> = Vec::new();
    while let Some(record) = reader.next().await {
        records.push(record?);
    }
    ensure!(records.len() == count, "{} records, not {count}", records.len());
    for (number, record) in records.iter().enumerate() {
        ensure!(record.value.as_deref() == Some(&value(number)[..]), "record {number} is wrong");
    }
    Ok(())
}

/// The segments of the one partition on a node, oldest first.
fn segments(cluster: &Cluster, node: u64) -> Result<Vec<PathBuf>> {
    let node = cluster.nodes().iter().find(|it| it.id() == node).context("a node")?;
    let root = node.dir().join("data/partitions");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(&root)? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            found.extend(path.extension().is_some_and(|kind| kind == "log").then_some(path));
        }
    }
    found.sort();
    Ok(found)
}

/// Flips two bits somewhere in a file; gives back what was in it.
fn rot(path: &Path, place: usize) -> Result<Vec<u8>> {
    let good = std::fs::read(path)?;
    let mut bad = good.clone();
    let length = bad.len();
    bad[length / 3 + place] ^= 1;
    bad[length / 2 + place] ^= 64;
    overwrite(path, &bad)?;
    Ok(good)
}

/// As a disk does it: the file stays the one that is open.
fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    std::fs::File::options().write(true).open(path)?.write_all_at(bytes, 0)?;
    Ok(())
}

async fn leader(client: &Client) -> Result<u64> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    topic.partitions[0].leader.context("nobody leads")
}

/// The sealed segments of a node, once there are as many as there should be.
async fn sealed(cluster: &mut Cluster, node: u64) -> Result<Vec<PathBuf>> {
    for _ in 0..600 {
        let mut all = segments(cluster, node)?;
        if all.len() > 3 {
            all.pop();
            return Ok(all);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("node {node} has too few segments: {:?}", segments(cluster, node)?)
}

async fn are_whole(files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    until("mended files", WAIT, || async {
        for (path, good) in files {
            ensure!(std::fs::read(path)? == *good, "{} is damaged", path.display());
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rots_on_any_node_is_found_and_fetched_from_another() -> Result<()> {
    let (mut cluster, client) = start("2s", 3).await?;
    // Helix damage: every node has a sound copy of what another lost.
    let mut good = BTreeMap::new();
    for node in 1..=3 {
        let files = sealed(&mut cluster, node).await?;
        let at = usize::try_from(node - 1)?;
        good.insert(files[at].clone(), rot(&files[at], at)?);
    }
    are_whole(&good).await?;
    read_all(&client, RECORDS).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    until("counted", WAIT, || async {
        let mended = metrics::sum(&cluster, "quipu_segment_mended_total", &[]).await?;
        ensure!(mended >= 3.0, "{mended} segments were mended");
        Ok(())
    })
    .await?;

    // Two segments of a node that is stopped, one of them without an index to know it by.
    let behind = leader(&client).await? % 3 + 1;
    let files = sealed(&mut cluster, behind).await?;
    cluster.node(behind).kill()?;
    let good: BTreeMap<PathBuf, Vec<u8>> =
        files[..2].iter().map(|path| Ok((path.clone(), rot(path, 7)?))).collect::<Result<_>>()?;
    std::fs::remove_file(files[0].with_extension("index"))?;
    cluster.node(behind).start()?;
    cluster.wait_healthy().await?;
    are_whole(&good).await?;
    cluster.wait_healthy().await?;
    read_all(&client, RECORDS).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_damaged_leader_wait_for_the_copy_of_another_node() -> Result<()> {
    let (mut cluster, client) = start("0s", 3).await?;
    let leader = leader(&client).await?;
    let files = sealed(&mut cluster, leader).await?;
    let mut good = BTreeMap::new();
    for path in &files[..2] {
        good.insert(path.clone(), rot(path, 11)?);
    }
    read_all(&client, RECORDS).await?;
    are_whole(&good).await?;

    // The end of the log, which grows: refused, until it is sealed by what is written next.
    let grows = segments(&cluster, leader)?.pop().context("a segment")?;
    rot(&grows, 5)?;
    let refused = read_all(&client, RECORDS).await.expect_err("it is damaged");
    let refused = refused.downcast_ref::<quipu_client::Error>().context("an error")?;
    ensure!(refused.code() == Some(ErrorCode::DataCorrupt), "{refused}");
    until("an explanation", WAIT, || async {
        let cluster = client.admin().describe_cluster().await?;
        let is_told = cluster.problems.iter().any(|problem| problem.contains("still grows"));
        ensure!(is_told, "{:?}", cluster.problems);
        Ok(())
    })
    .await?;
    write(&client, RECORDS..RECORDS + 1).await?;
    until("a sound log", WAIT, || read_all(&client, RECORDS + 1)).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    cluster.wait_healthy().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_other_copy_is_refused_and_told() -> Result<()> {
    let (mut cluster, client) = start("1s", 1).await?;
    let files = sealed(&mut cluster, 1).await?;
    let good = rot(&files[1], 3)?;
    until("an explanation", WAIT, || async {
        let cluster = client.admin().describe_cluster().await?;
        let is_told = cluster.problems.iter().any(|problem| problem.contains("is damaged at"));
        ensure!(is_told && !cluster.is_healthy, "{:?}", cluster.problems);
        Ok(())
    })
    .await?;
    let refused = read_all(&client, RECORDS).await.expect_err("it is damaged");
    let refused = refused.downcast_ref::<quipu_client::Error>().context("an error")?;
    ensure!(refused.code() == Some(ErrorCode::DataCorrupt), "{refused}");
    // Whoever puts the file right is believed.
    overwrite(&files[1], &good)?;
    read_all(&client, RECORDS).await?;
    cluster.wait_healthy().await
}
