//! The demonstration: `cargo xtask demo`.
//!
//! Starts three real processes, publishes the file lists of this machine's packages, kills the
//! leader half way, restarts it, reads everything back and says what was lost (nothing), then plays
//! the small lab of the streaming document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use quipu_client::{Client, End, NewRecord, NewTopic, Start};
use quipu_testkit::{Cluster, ClusterOptions, Ledger};
use tokio::sync::mpsc;

const TOPIC: &str = "packages.files";
const PARTITIONS: u32 = 6;
/// Debian keeps the names of all installed files here.
const SOURCE: &str = "/var/lib/dpkg/info";
const RECORDS_MIN: usize = 100_000;

fn main() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(demo())
}

async fn demo() -> Result<()> {
    say("starting three nodes (real processes, real disks, flushed before acknowledged)");
    let options = ClusterOptions { dir: keep_dir(), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options).await?;
    for node in cluster.nodes() {
        say(&format!(
            "  node {}   clients {}   process {}",
            node.id(),
            node.client_address(),
            node.pid().context("it runs")?
        ));
    }
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
    let verdict = publish_through_a_kill(&mut cluster, &client).await;
    let lab = if verdict.is_ok() { lab(&client).await } else { Ok(()) };
    verdict.and(lab)?;
    cluster.end();
    Ok(())
}

/// `--keep DIR` keeps the nodes' directories.
fn keep_dir() -> Option<PathBuf> {
    let mut words = std::env::args().skip(1);
    words.find(|word| word == "--keep").and_then(|_| words.next()).map(PathBuf::from)
}

async fn publish_through_a_kill(cluster: &mut Cluster, client: &Client) -> Result<()> {
    let lines = lines()?;
    let count = lines.len();
    say(&format!(
        "publishing {count} lines of {SOURCE} to {TOPIC}, {PARTITIONS} partitions, acks quorum"
    ));
    let ledger = Arc::new(Ledger::new(TOPIC, lines));
    let bar = progress_bar(u64::try_from(count)?);
    let producer = client.producer().build()?;
    let (settled, mut acknowledged) = mpsc::channel::<(Instant, Option<u32>)>(count);
    let publishing = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            let mut settling = tokio::task::JoinSet::new();
            for _ in 0..count {
                let (number, record) = ledger.record();
                let delivery = producer.enqueue(record).await?;
                let (ledger, settled) = (Arc::clone(&ledger), settled.clone());
                settling.spawn(async move {
                    let partition = ledger.settle(number, delivery).await;
                    // The receiver is there until every sender is gone.
                    let _ = settled.send((Instant::now(), partition)).await;
                });
                while settling.try_join_next().is_some() {}
            }
            producer.flush().await?;
            while settling.join_next().await.is_some() {}
            producer.close(Duration::from_secs(10)).await?;
            anyhow::Ok(())
        }
    });
    let begun = Instant::now();
    let mut outage: Option<Outage> = None;
    let mut done = 0;
    while let Some((at, partition)) = acknowledged.recv().await {
        done += 1;
        bar.inc(1);
        if let (Some(outage), Some(partition)) = (&mut outage, partition) {
            outage.acknowledged(partition, at);
        }
        if done == count / 2 {
            let (leader, led) = leader(client).await?;
            cluster.node(leader).kill()?;
            outage = Some(Outage::begins(leader, &led));
            bar.println(format!(
                "  kill -9 of node {leader}, leader of partitions {led:?}, after {done} records"
            ));
        }
        if done == count / 4 * 3
            && let Some(outage) = &outage
        {
            cluster.node(outage.node).start()?;
            bar.println(format!("  node {} starts again", outage.node));
        }
    }
    publishing.await??;
    bar.finish_and_clear();
    let elapsed = begun.elapsed();
    cluster.wait_healthy().await?;
    say("reading everything back");
    let verdict = ledger.compare(client).await?;
    let failed = ledger.failed();
    let failover = outage.context("the leader was killed")?.longest;
    let mut report = String::new();
    writeln!(report, "VERDICT")?;
    writeln!(report, "  acknowledged   {}", verdict.acked)?;
    writeln!(report, "  read           {}", verdict.read)?;
    writeln!(report, "  missing        {}", verdict.missing)?;
    writeln!(report, "  duplicated     {}", verdict.duplicated)?;
    writeln!(report, "  not accepted   {}", failed.len())?;
    writeln!(report, "  failover       {failover:.2?}, of the slowest partition the node led")?;
    write!(report, "  time           {elapsed:.1?}")?;
    say(&report);
    ensure!(verdict.difference.is_none(), "FAILED: {}", verdict.difference.unwrap_or_default());
    ensure!(failed.is_empty(), "the first that was not accepted: {}", failed[0]);
    ensure!(verdict.acked == u64::try_from(count)?, "every record was to be acknowledged");
    Ok(())
}

/// How long the partitions of a killed node went without acknowledgement.
struct Outage {
    node: u64,
    /// Of each partition the node led, the last acknowledgement; at first, the kill.
    last: BTreeMap<u32, Instant>,
    longest: Duration,
}

impl Outage {
    fn begins(node: u64, led: &[u32]) -> Self {
        let now = Instant::now();
        Self { node, last: led.iter().map(|led| (*led, now)).collect(), longest: Duration::ZERO }
    }

    fn acknowledged(&mut self, partition: u32, at: Instant) {
        if let Some(last) = self.last.get_mut(&partition) {
            self.longest = self.longest.max(at.saturating_duration_since(*last));
            *last = at.max(*last);
        }
    }
}

/// A node that leads, and which partitions.
async fn leader(client: &Client) -> Result<(u64, Vec<u32>)> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    let found = topic.partitions.iter().find_map(|partition| partition.leader);
    let leader = found.context("no leader")?;
    let led = topic.partitions.iter().filter(|partition| partition.leader == Some(leader));
    Ok((leader, led.map(|partition| partition.index).collect()))
}

/// The lab: three fees, then one more.
async fn lab(client: &Client) -> Result<()> {
    const FEES: &str = "FeeUpdated";
    client.admin().create_topic(NewTopic::new(FEES)).await?;
    let producer = client.producer().build()?;
    for amount in [120, 125, 135] {
        let receipt = producer.publish(fee(FEES, amount)).await?;
        say(&format!(
            "pub {FEES} {{\"amount\":{amount}}}   offset {}",
            receipt.offset.context("offset")?
        ));
    }
    let mut new = client.replay(FEES).from(Start::Latest).until(End::Never).open().await?;
    let mut all = client.replay(FEES).from(Start::Earliest).until(End::Latest).open().await?;
    let mut seen = 0;
    while let Some(record) = all.next().await {
        let record = record?;
        seen += 1;
        say(&format!("from earliest   {}   {}", record.offset, text(record.value)));
    }
    ensure!(seen == 3, "from earliest showed {seen} of 3");
    producer.publish(fee(FEES, 140)).await?;
    let record = new.next().await.context("one is new")??;
    ensure!(record.offset == 3, "from latest showed offset {}", record.offset);
    say(&format!("from latest     {}   {}", record.offset, text(record.value)));
    Ok(())
}

fn fee(topic: &str, amount: u32) -> NewRecord {
    NewRecord::new(topic, format!("{{\"amount\":{amount}}}"))
}

fn text(value: Option<Bytes>) -> String {
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

/// Lines of all file lists, then of the checksum lists where that is not enough.
fn lines() -> Result<Vec<Bytes>> {
    let mut found = Vec::new();
    for ending in ["list", "md5sums"] {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(SOURCE)
            .with_context(|| format!("read {SOURCE}"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|found| found == ending));
        paths.sort();
        for path in paths {
            let text = Bytes::from(std::fs::read(&path)?);
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            found.extend(lines.map(|line| text.slice_ref(line)));
        }
        if found.len() >= RECORDS_MIN {
            return Ok(found);
        }
    }
    ensure!(!found.is_empty(), "{SOURCE} has no file lists");
    Ok(found)
}

fn progress_bar(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len}  {per_sec}  {eta} left")
        .expect("the template is valid");
    ProgressBar::new(count).with_style(style)
}

#[expect(clippy::print_stdout, reason = "the demonstration talks to a person")]
fn say(text: &str) {
    println!("{text}");
}
