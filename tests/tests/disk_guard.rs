//! A disk that fills: writes are refused before it is full, everything else goes on, and all comes
//! back by itself (CAPABILITIES §1.39).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic, Producer};
use quipu_testkit::{Cluster, ClusterOptions, read_all, until};
use quipu_types::{Effect, ErrorCode};

const TOPIC: &str = "permits";
const DISK_BYTES: u64 = 256 << 20;
/// A tenth of the disk must be free.
const REQUIRED: u64 = DISK_BYTES / 10;
const WAIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;

/// A small disk of its own, mounted while this lives.
struct SmallDisk {
    mounted: PathBuf,
}

impl SmallDisk {
    fn create(dir: &Path) -> Result<Self> {
        let image = dir.join("image");
        File::create(&image)?.set_len(DISK_BYTES)?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)?])?;
        let mounted = dir.join("disk");
        std::fs::create_dir_all(&mounted)?;
        run("mount", &["-o", "loop", text(&image)?, text(&mounted)?])?;
        Ok(Self { mounted })
    }

    fn free(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.mounted)?;
        Ok(found.f_bavail * found.f_frsize)
    }

    fn filler(&self) -> PathBuf {
        self.mounted.join("filler")
    }

    /// Takes room until so much is left.
    fn leave(&self, left: u64) -> Result<()> {
        let filler = File::create(self.filler())?;
        let taken = self.free()?.saturating_sub(left);
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, taken)?;
        Ok(())
    }

    fn give_back(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(mounted) = text(&self.mounted) {
            let _ = run("umount", &["-l", mounted]);
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in text")
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program).args(words).status().with_context(|| program.to_owned())?;
    ensure!(status.success(), "{program} {}: {status}", words.join(" "));
    Ok(())
}

fn settings() -> Vec<String> {
    let settings = [
        "cluster.shards-per-node=1",
        "journal.file-bytes=4MiB",
        "storage.min-free=1GiB",
        "log.format=text",
    ];
    settings.map(str::to_owned).into()
}

/// What becomes of one record that is not tried again.
async fn publish(client: &Client, text: &str) -> Result<Result<(), (ErrorCode, Effect)>> {
    let once = client.producer().idempotent(false).delivery_timeout(Duration::from_millis(900));
    let producer: Producer = once.build()?;
    let record = NewRecord::new(TOPIC, text.to_owned()).partition(0);
    Ok(match producer.publish(record).await {
        Ok(_) => Ok(()),
        Err(error) => Err((error.code().context(error.to_string())?, error.effect())),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_alone_and_comes_back_by_itself() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::create(dir.path())?;
    let root = disk.mounted.join("cluster");
    let options = ClusterOptions { nodes: 1, settings: settings(), dir: Some(root) };
    let mut cluster = Cluster::start_with(options).await?;
    let pid = cluster.node(1).pid();
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(1)).await?;
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let before = format!("before {round}");
        ensure!(publish(&client, &before).await? == Ok(()), "there is room");
        written.push(before);
        disk.leave(REQUIRED / 2)?;
        until("a refusal", WAIT, async || {
            let refused = publish(&client, "refused").await?;
            ensure!(refused == Err((ErrorCode::StorageFull, Effect::None)), "{refused:?}");
            Ok(())
        })
        .await?;
        let read = read_all(&client, TOPIC).await?.len();
        ensure!(read >= written.len(), "reads go on: {read} of {}", written.len());
        let health = client.admin().describe_cluster().await?;
        ensure!(health.problems.iter().any(|it| it.contains("free")), "{:?}", health.problems);
        disk.give_back()?;
        let after = format!("after {round}");
        until("room to be noticed", WAIT, async || {
            let taken = publish(&client, &after).await?;
            ensure!(taken == Ok(()), "{taken:?}");
            Ok(())
        })
        .await?;
        written.push(after);
    }
    ensure!(cluster.node(1).pid() == pid && !cluster.node(1).has_died(), "no restart");
    let records = read_all(&client, TOPIC).await?;
    let values = records.iter().filter_map(|record| record.value.clone());
    let values: Vec<String> =
        values.map(|value| String::from_utf8_lossy(&value).into_owned()).collect();
    for text in &written {
        ensure!(values.contains(text), "{text:?} was acknowledged: {values:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_disk_leads_nothing_and_catches_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::create(dir.path())?;
    let options = ClusterOptions { nodes: 3, settings: settings(), ..<_>::default() };
    let mut cluster = Cluster::prepare(options)?;
    cluster.node(1).set_dir(disk.mounted.join("node-1"));
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let pid = cluster.node(1).pid();
    let client = cluster.client().await?;
    let nodes = &cluster;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(6)).await?;
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    for left in [REQUIRED / 2, REQUIRED / 8] {
        disk.leave(left)?;
        until("leaderships to leave", WAIT, async || {
            let cluster = client.admin().describe_cluster().await?;
            let led = cluster.shards.iter().find(|shard| shard.leader == Some(1));
            ensure!(led.is_none(), "{led:?}");
            Ok(())
        })
        .await
        .with_context(|| nodes.tails())?;
        for number in 0..200 {
            producer.publish(NewRecord::new(TOPIC, format!("{left} {number}"))).await?;
        }
        disk.give_back()?;
        until("a leadership to come home", WAIT, async || {
            let cluster = client.admin().describe_cluster().await?;
            ensure!(cluster.shards.iter().any(|shard| shard.leader == Some(1)), "nothing yet");
            Ok(())
        })
        .await?;
    }
    ensure!(cluster.node(1).pid() == pid && !cluster.node(1).has_died(), "no restart");
    ensure!(read_all(&client, TOPIC).await?.len() == 400, "each once");
    quipu_testkit::replicas::are_identical(&cluster, TOPIC, 6).await
}

/// Bytes of a record that fills the disk.
const BLOCK: usize = 64 << 10;

fn block(number: usize) -> Vec<u8> {
    format!("{number:016}").into_bytes().into_iter().cycle().take(BLOCK).collect()
}

/// Publishes until the disk is full; says what was acknowledged where.
async fn fill(client: &Client, from: usize) -> Result<Vec<(u64, usize)>> {
    let producer = client.producer().delivery_timeout(Duration::from_millis(900)).build()?;
    let mut acked = Vec::new();
    for first in (from..).step_by(16) {
        let mut deliveries = Vec::new();
        for number in first..first + 16 {
            let record = NewRecord::new(TOPIC, block(number)).partition(0);
            deliveries.push((number, producer.enqueue(record).await?));
        }
        let mut is_full = false;
        for (number, delivery) in deliveries {
            match delivery.await {
                Ok(receipt) => acked.push((receipt.offset.context("an offset")?, number)),
                Err(error) => {
                    ensure!(error.code() == Some(ErrorCode::StorageFull), "{error}");
                    is_full = true;
                }
            }
        }
        if is_full {
            break;
        }
    }
    Ok(acked)
}

/// How often load fills the disk: more with `QUIPU_FILLS`.
fn fills() -> usize {
    std::env::var("QUIPU_FILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_fills_the_disk_again_and_again_and_nothing_acknowledged_is_lost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::create(dir.path())?;
    let root = disk.mounted.join("cluster");
    let mut settings = settings();
    settings.push("storage.checkpoint-interval=300ms".to_owned());
    let options = ClusterOptions { nodes: 1, settings, dir: Some(root) };
    let mut cluster = Cluster::start_with(options).await?;
    let pid = cluster.node(1).pid();
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC).partitions(1).set("segment-bytes", "8MiB");
    client.admin().create_topic(topic).await?;
    let mut number = 0;
    for round in 0..fills() {
        let acked = fill(&client, number).await?;
        ensure!(acked.len() > 500, "round {round}: {} were acknowledged", acked.len());
        ensure!(disk.free()? > REQUIRED / 4, "the reserve is there");
        // What was acknowledged in this round is there, and read while the disk is full.
        let read = read_all(&client, TOPIC).await?;
        let mut records = read.iter().map(|record| (record.offset, record.value.clone()));
        for (offset, number) in &acked {
            let found = records.find(|(at, _)| at == offset).context("an acknowledged record")?.1;
            ensure!(found.as_deref() == Some(&block(*number)[..]), "{offset} is another record");
        }
        number = acked.last().map_or(number, |(_, last)| last + 16);
        let end = read.last().context("records")?.offset;
        client.admin().delete_records(TOPIC, 0, Some(end)).await?;
        until("room to be noticed", WAIT, async || {
            let taken = publish(&client, "there is room").await?;
            ensure!(taken == Ok(()), "{taken:?}");
            Ok(())
        })
        .await?;
    }
    ensure!(cluster.node(1).pid() == pid && !cluster.node(1).has_died(), "no restart");
    cluster.wait_healthy().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_more_than_its_disk_takes_lives_and_catches_up_with_what_is_kept()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::create(dir.path())?;
    let mut settings = settings();
    settings.push("storage.checkpoint-interval=300ms".to_owned());
    settings.push("storage.journal-entries-kept=10".to_owned());
    let options = ClusterOptions { nodes: 3, settings, ..<_>::default() };
    let mut cluster = Cluster::prepare(options)?;
    cluster.node(1).set_dir(disk.mounted.join("node-1"));
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC).partitions(1).set("segment-bytes", "8MiB");
    client.admin().create_topic(topic).await?;
    cluster.node(1).kill()?;
    let producer = client.producer().delivery_timeout(WAIT).build()?;
    let mut last = None;
    let all = usize::try_from(DISK_BYTES * 3 / 4)? / BLOCK;
    for number in 0..all {
        let record = NewRecord::new(TOPIC, block(number)).partition(0);
        last = Some(producer.enqueue(record).await?);
    }
    let end = last.context("records")?.await?.offset.context("an offset")?;
    cluster.node(1).start()?;
    let pid = cluster.node(1).pid();
    let nodes = &cluster;
    until("a snapshot to find no room", WAIT, async || {
        ensure!(nodes.nodes()[0].log().contains("a snapshot is given up"), "not yet");
        Ok(())
    })
    .await
    .with_context(|| nodes.tails())?;
    ensure!(disk.free()? > REQUIRED / 4, "the reserve is there");
    client.admin().delete_records(TOPIC, 0, Some(end * 7 / 8)).await?;
    quipu_testkit::replicas::are_identical(&cluster, TOPIC, 1).await?;
    ensure!(cluster.node(1).pid() == pid && !cluster.node(1).has_died(), "no restart");
    ensure!(!read_all(&client, TOPIC).await?.is_empty(), "the rest is there");
    Ok(())
}
