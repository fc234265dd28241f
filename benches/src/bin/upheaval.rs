//! What producers feel while a cluster changes under them, and how fast replicas catch up.
//!
//! `QUIPU_BIN=target/release/quipu cargo run --release -p quipu-benches --bin upheaval -- 1024 4000 2048`
//!
//! The words are MiB of history, records a second, and MiB that are written while a node is away.
//! Without history nothing moves: a node comes back to two others.
//! Records are offered at a fixed pace, whether the cluster keeps up or not, and each is timed from
//! when it was due until it is acknowledged. A line of JSON per phase: calm, replicas to a new
//! node, partitions to other shards, a node that comes back behind. `slow` names the tenths of a
//! second in which records were due that took more than five times calm: the wall clock, how many,
//! and the slowest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic, NodeId, Producer, ShardId};
use quipu_testkit::{Cluster, metrics, until};
use serde_json::json;

const TOPIC: &str = "upheaval";
const PARTITIONS: u32 = 12;
const RECORD_BYTES: usize = 1 << 10;
/// How often records are offered.
const TICK: Duration = Duration::from_millis(5);
const CALM: Duration = Duration::from_secs(20);
/// A change may take this long.
const WAIT: Duration = Duration::from_secs(1800);
/// The node that is away for a while.
const ABSENT: u64 = 2;

/// Milliseconds that records took since somebody last looked, and when they were due.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(f64, Instant)>>>);

impl Times {
    fn note(&self, due: Instant) {
        let took = due.elapsed().as_secs_f64() * 1e3;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((took, due));
    }

    fn take(&self) -> Vec<(f64, Instant)> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        all
    }
}

struct Bench {
    cluster: Cluster,
    client: Client,
    times: Times,
    calm_p99: Option<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = |default: u64| words.next().map_or(Ok(default), |word| word.parse());
    let (mib, pace, behind_mib) = (number(1024)?, number(4000)?, number(1024)?);
    ensure!(pace >= 200, "at least 200 records a second");
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
    let mut bench = Bench { cluster, client, times: Times::default(), calm_p99: None };
    if mib > 0 {
        bench.fill(mib).await?;
    }
    let producer = bench.client.producer().delivery_timeout(WAIT).build()?;
    let load = tokio::spawn(offer(producer, pace, bench.times.clone()));
    tokio::time::sleep(CALM / 4).await;
    let begun = bench.begin();
    tokio::time::sleep(CALM).await;
    bench.end("calm", begun, 0.0)?;
    if mib > 0 {
        bench.replicas_move().await?;
        bench.partitions_move().await?;
    }
    bench.one_comes_back(behind_mib).await?;
    ensure!(!load.is_finished(), "the load has ended: {:?}", load.await);
    load.abort();
    Ok(())
}

impl Bench {
    /// Writes history, as fast as it goes, and waits until the kernel has written it too: or it
    /// would do so all at once half a minute later, in the middle of something else.
    async fn fill(&self, mib: u64) -> Result<()> {
        let producer = self.client.producer().delivery_timeout(WAIT).build()?;
        let mut last = None;
        for number in 0..mib * 1024 {
            last = Some(producer.enqueue(record(number)).await?);
        }
        producer.flush().await?;
        last.context("something is written")?.await?;
        let synced = tokio::process::Command::new("sync").status().await?;
        ensure!(synced.success(), "sync: {synced}");
        Ok(())
    }

    fn begin(&self) -> Instant {
        drop(self.times.take());
        Instant::now()
    }

    fn end(&mut self, phase: &str, begun: Instant, moved: f64) -> Result<()> {
        let (seconds, times) = (begun.elapsed().as_secs_f64(), self.times.take());
        ensure!(!times.is_empty(), "{phase}: nothing was acknowledged");
        let at = |share: usize| times[(times.len() * share).div_ceil(1000).max(1) - 1].0;
        let worst_at = times[times.len() - 1].1.saturating_duration_since(begun);
        let calm_p99 = *self.calm_p99.get_or_insert_with(|| at(990));
        let round = |value: f64| (value * 10.0).round() / 10.0;
        let mut slow: BTreeMap<u128, (usize, f64)> = BTreeMap::new();
        let (now, wall) = (Instant::now(), std::time::UNIX_EPOCH.elapsed()?);
        for (took, due) in times.iter().filter(|it| it.0 > calm_p99 * 5.0) {
            let due_ms = wall.saturating_sub(now.saturating_duration_since(*due)).as_millis();
            let tenth = slow.entry(due_ms / 100).or_default();
            *tenth = (tenth.0 + 1, tenth.1.max(round(*took)));
        }
        let slow: Vec<_> = slow
            .into_iter()
            .map(|(tenth, (records, worst))| {
                json!([format!("{}.{}", tenth / 10 % 86_400, tenth % 10), records, worst])
            })
            .collect();
        note(&json!({
            "phase": phase, "seconds": round(seconds), "records": times.len(),
            "p50_ms": round(at(500)), "p99_ms": round(at(990)), "max_ms": round(at(1000)),
            "worst_at_s": round(worst_at.as_secs_f64()),
            "p99_times_calm": round(at(990) / calm_p99), "moved_mb": round(moved / 1e6),
            "mb_per_second": round(moved / 1e6 / seconds), "slow": slow,
        }));
        Ok(())
    }

    async fn replicas_move(&mut self) -> Result<()> {
        self.cluster.add_node()?;
        self.cluster.wait_healthy().await?;
        let before = self.sum("quipu_snapshot_bytes_total", &["direction=\"in\""]).await?;
        let begun = self.begin();
        let planned = self.client.admin().rebalance(1).await?;
        ensure!(!planned.is_empty(), "the new node gets nothing");
        until("replicas to move", WAIT, async || {
            let cluster = self.client.admin().describe_cluster().await?;
            for planned in &planned {
                let shard = cluster.shards.iter().find(|shard| shard.shard == planned.shard);
                let shard = shard.context("a shard of the plan")?;
                let is_there = planned.to.iter().all(|node| shard.replicas.contains(node));
                ensure!(is_there && shard.leaving.is_empty(), "{shard:?}, planned {planned:?}");
            }
            Ok(())
        })
        .await?;
        let moved = self.sum("quipu_snapshot_bytes_total", &["direction=\"in\""]).await? - before;
        self.end("replicas to a new node", begun, moved)
    }

    async fn partitions_move(&mut self) -> Result<()> {
        let admin = self.client.admin();
        let topic = admin.describe_topic(TOPIC).await?;
        let mut shards: Vec<u32> = topic.partitions.iter().map(|it| it.shard).collect();
        let first_four = topic.partitions.iter().take(4);
        let wanted: BTreeMap<u32, ShardId> = {
            shards.sort_unstable();
            shards.dedup();
            let next = |shard: u32| {
                let at = shards.iter().position(|known| *known == shard).unwrap_or_default();
                ShardId::new(shards[(at + 1) % shards.len()])
            };
            first_four.map(|it| (it.index, next(it.shard))).collect()
        };
        let before = self.sum("quipu_node_partition_moved_bytes_total", &[]).await?;
        let begun = self.begin();
        admin.move_partitions(TOPIC, &wanted).await?;
        until("partitions to arrive", WAIT, async || {
            let topic = self.client.admin().describe_topic(TOPIC).await?;
            let is_there = |(index, to): (&u32, &ShardId)| {
                let found = topic.partitions.iter().find(|it| it.index == *index);
                found.is_some_and(|it| it.shard == to.get() && it.moving_to.is_none())
            };
            ensure!(wanted.iter().all(is_there), "some are on their way");
            Ok(())
        })
        .await?;
        let moved = self.sum("quipu_node_partition_moved_bytes_total", &[]).await? - before;
        self.end("four partitions to other shards", begun, moved)
    }

    async fn one_comes_back(&mut self, mib: u64) -> Result<()> {
        let before = self.held_by(ABSENT).await?;
        self.cluster.node(ABSENT).kill()?;
        self.fill(mib).await?;
        // What was written without it, and nothing of the rush.
        tokio::time::sleep(CALM / 4).await;
        let begun = self.begin();
        self.cluster.node(ABSENT).start()?;
        until("a replica to catch up", WAIT, async || {
            let topic = self.client.admin().describe_topic(TOPIC).await?;
            for partition in &topic.partitions {
                if !partition.replicas.contains(&ABSENT) {
                    continue;
                }
                let leader = partition.leader.context("nobody leads")?;
                // Only the leader knows where its partition ends.
                let (has, all) = (
                    self.end_at(partition.index, ABSENT).await?,
                    self.end_at(partition.index, leader).await?,
                );
                ensure!(all.is_some() && has >= all, "{has:?} of {all:?}");
            }
            Ok(())
        })
        .await?;
        let records = self.held_by(ABSENT).await?.saturating_sub(before);
        // Its counters began with it.
        let node = self.cluster.nodes().iter().find(|node| node.id() == ABSENT);
        let node = node.context("the node")?;
        let bulk = metrics::of(node, "quipu_snapshot_bytes_total", &["direction=\"in\""]).await?;
        let phase = format!("a node that comes back, {:.0} MB by snapshots", bulk / 1e6);
        self.end(&phase, begun, records as f64 * RECORD_BYTES as f64)
    }

    /// Records of the partitions that a node has a replica of.
    async fn held_by(&self, node: u64) -> Result<u64> {
        let mut records = 0;
        for partition in self.client.admin().describe_topic(TOPIC).await?.partitions {
            if partition.replicas.contains(&node) {
                let leader = partition.leader.context("nobody leads")?;
                records += self.end_at(partition.index, leader).await?.context("its end")?;
            }
        }
        Ok(records)
    }

    async fn end_at(&self, partition: u32, node: u64) -> Result<Option<u64>> {
        let admin = self.client.admin();
        let replica = admin.describe_replica(NodeId::new(node), TOPIC, partition).await?;
        Ok(replica.high_watermark)
    }

    async fn sum(&self, metric: &str, labels: &[&str]) -> Result<f64> {
        metrics::sum(&self.cluster, metric, labels).await
    }
}

/// Not to be compressed.
fn record(number: u64) -> NewRecord {
    let mut value = Vec::with_capacity(RECORD_BYTES);
    let mut state = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    while value.len() < RECORD_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    let partition = u32::try_from(number % u64::from(PARTITIONS)).unwrap_or_default();
    NewRecord::new(TOPIC, value).partition(partition)
}

async fn offer(producer: Producer, pace: u64, times: Times) -> Result<()> {
    let mut tick = tokio::time::interval(TICK);
    let begun = Instant::now();
    let mut number = 0;
    loop {
        tick.tick().await;
        let due = begun.elapsed().as_secs_f64() * pace as f64;
        while (number as f64) < due {
            let at = begun + Duration::from_secs_f64(number as f64 / pace as f64);
            let delivery = producer.enqueue(record(number)).await?;
            number += 1;
            let times = times.clone();
            tokio::spawn(async move {
                if delivery.await.is_ok() {
                    times.note(at);
                }
            });
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the program's purpose")]
fn note(line: &serde_json::Value) {
    println!("{line}");
}
