//! P1: an event acknowledged at `quorum` is never lost, changed, moved or repeated.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewTopic};
use quipu_testkit::{Cluster, Ledger, dataset, replicas, until};
use tokio::task::JoinHandle;

const TOPIC: &str = "court.case.filed";
const PARTITIONS: u32 = 6;

/// Publishes `count` records as fast as the cluster takes them.
fn publish(client: Client, ledger: Arc<Ledger>, count: usize) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let producer = client.producer().delivery_timeout(Duration::from_secs(120)).build()?;
        let mut settling = tokio::task::JoinSet::new();
        for _ in 0..count {
            let (number, record) = ledger.record();
            let delivery = producer.enqueue(record).await?;
            let ledger = Arc::clone(&ledger);
            settling.spawn(async move { ledger.settle(number, delivery).await });
            while settling.try_join_next().is_some() {}
        }
        producer.flush().await?;
        while settling.join_next().await.is_some() {}
        producer.close(Duration::from_secs(10)).await?;
        Ok(())
    })
}

async fn topic(client: &Client) -> Result<()> {
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
    Ok(())
}

/// The node that leads the most partitions.
async fn busiest_leader(client: &Client) -> Result<u64> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    let leaders: Vec<u64> = topic.partitions.iter().filter_map(|p| p.leader).collect();
    let count = |node: &u64| leaders.iter().filter(|leader| *leader == node).count();
    leaders.iter().copied().max_by_key(count).context("no partition is led")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_every_five_seconds_lose_nothing() -> Result<()> {
    const RECORDS: usize = 500_000;
    const KILLS: usize = 12;
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    topic(&client).await?;
    let ledger = Arc::new(Ledger::new(TOPIC, dataset::lines(RECORDS)?));
    let publishing = publish(client.clone(), Arc::clone(&ledger), RECORDS);
    let mut rhythm = tokio::time::interval(Duration::from_secs(5));
    rhythm.tick().await;
    for _ in 0..KILLS {
        rhythm.tick().await;
        let leader = until("a leader", Duration::from_secs(30), || busiest_leader(&client)).await?;
        cluster.node(leader).kill()?;
        cluster.node(leader).start()?;
    }
    publishing.await??;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed().first());
    ensure!(ledger.acked() == RECORDS, "{} acknowledged", ledger.acked());
    cluster.wait_healthy().await?;
    let verdict = ledger.verify(&client).await?;
    ensure!(verdict.read == verdict.acked, "{verdict:?}: with all acknowledged, none may be extra");
    replicas::are_identical(&cluster, TOPIC, PARTITIONS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_under_load_lose_nothing() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    topic(&client).await?;
    let ledger = Arc::new(Ledger::new(TOPIC, dataset::lines(100_000)?));
    let publishing = publish(client.clone(), Arc::clone(&ledger), 100_000);
    for round in 1..=3 {
        let enough = 20_000 * round;
        until("records to be acknowledged", Duration::from_secs(60), async || {
            ensure!(ledger.acked() >= enough, "{} are", ledger.acked());
            Ok(())
        })
        .await?;
        cluster.kill_all()?;
        cluster.start_all()?;
    }
    publishing.await??;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed().first());
    cluster.wait_healthy().await?;
    ledger.verify(&client).await?;
    replicas::are_identical(&cluster, TOPIC, PARTITIONS).await
}
