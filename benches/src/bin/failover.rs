//! How long a partition takes no writes when its leader is killed with -9, light load.
//!
//! `QUIPU_BIN=target/release/quipu cargo run --release -p quipu-benches --bin failover -- 20`
//!
//! One producer offers a record every 5 ms. The gap is the time from the last acknowledgement of a
//! record before the kill to the first after it: what a service would notice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic, Producer};
use quipu_testkit::{Cluster, until};

const TOPIC: &str = "failover";
const KILLS_DEFAULT: usize = 20;
const PACE: Duration = Duration::from_millis(5);
/// Load before each kill, so that batches, leases and logs are those of a running system.
const RUN_UP: usize = 200;
const WAIT: Duration = Duration::from_secs(30);

/// When records were acknowledged, in order.
#[derive(Default)]
struct Acks(Mutex<Vec<Instant>>);

impl Acks {
    fn note(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The silence that began before or at `at` and ended after it.
    fn gap_around(&self, at: Instant) -> Option<Duration> {
        let acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = acks.partition_point(|ack| *ack <= at);
        // Answers under way at the kill may still arrive: the longest silence since counts.
        let from = after.checked_sub(1)?;
        acks[from..].windows(2).map(|pair| pair[1].duration_since(pair[0])).max()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let kills = std::env::args().nth(1).map(|word| word.parse()).transpose()?;
    let kills: usize = kills.unwrap_or(KILLS_DEFAULT);
    ensure!(kills > 0, "at least one kill");
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    let acks = Arc::new(Acks::default());
    let producer = client.producer().linger(Duration::ZERO).build()?;
    let load = tokio::spawn(offer(producer, Arc::clone(&acks)));
    let mut gaps = Vec::new();
    for kill in 1..=kills {
        settle(&acks).await?;
        let leader = leader(&client).await?;
        cluster.node(leader).kill()?;
        let killed = Instant::now();
        settle(&acks).await?;
        let gap = acks.gap_around(killed).context("records were acknowledged")?;
        note(&format!("kill {kill} of {kills}: node {leader}, {gap:.0?}"));
        gaps.push(gap);
        cluster.node(leader).start()?;
        cluster.wait_healthy().await?;
    }
    load.abort();
    report(&mut gaps)
}

async fn offer(producer: Producer, acks: Arc<Acks>) -> Result<()> {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let delivery = producer.enqueue(NewRecord::new(TOPIC, vec![b'x'; 100])).await?;
        let acks = Arc::clone(&acks);
        tokio::spawn(async move {
            if delivery.await.is_ok() {
                acks.note();
            }
        });
    }
}

/// Waits until the load runs (again).
async fn settle(acks: &Acks) -> Result<()> {
    let goal = acks.count() + RUN_UP;
    until("the load to run", WAIT, async || {
        let count = acks.count();
        ensure!(count >= goal, "{count} of {goal} records are acknowledged");
        Ok(())
    })
    .await
}

async fn leader(client: &Client) -> Result<u64> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    topic.partitions.first().and_then(|partition| partition.leader).context("no leader")
}

fn report(gaps: &mut [Duration]) -> Result<()> {
    gaps.sort_unstable();
    let ms = |share: usize| gaps[(gaps.len() * share).div_ceil(100).max(1) - 1].as_millis();
    let figures = serde_json::json!({
        "kills": gaps.len(), "min_ms": ms(0), "p50_ms": ms(50), "p90_ms": ms(90),
        "p99_ms": ms(99), "max_ms": ms(100),
    });
    note(&serde_json::to_string_pretty(&figures)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are the program's purpose")]
fn note(line: &str) {
    println!("{line}");
}
