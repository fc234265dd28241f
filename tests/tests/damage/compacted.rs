//! The same of a topic whose replicas were compacted, each by itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, Codec, End, NewRecord, NewTopic, NodeId, ShardId};
use quipu_testkit::{Cluster, ClusterOptions, metrics, replicas, until};

use super::{WAIT, rot, segments};

const TOPIC: &str = "court.orders";
const KEYS: usize = 30;
/// The node that never compacts.
const KEEPS_ALL: u64 = 3;

/// What was acknowledged last of each key; `None`: deleted.
type Orders = BTreeMap<String, Option<u8>>;

/// A number, and 16 KiB that no codec makes smaller.
fn noise(key: &str, round: u8) -> Vec<u8> {
    let mut state = u64::from(crc32c::crc32c(key.as_bytes())) + u64::from(round);
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    std::iter::once(round).chain(noise.take(16 << 10)).collect()
}

async fn write(
    client: &Client,
    orders: &mut Orders,
    keys: &[String],
    round: Option<u8>,
) -> Result<()> {
    let producer = client.producer().compression(Codec::Zstd).delivery_timeout(WAIT).build()?;
    for key in keys {
        let record = match round {
            Some(round) => NewRecord::new(TOPIC, noise(key, round)).key(key.clone()),
            None => NewRecord::tombstone(TOPIC, key.clone()),
        };
        drop(producer.enqueue(record).await?);
        orders.insert(key.clone(), round);
    }
    producer.close(WAIT).await?;
    Ok(())
}

/// What a reader finds is what was acknowledged: nothing of a key that was deleted. Says how many
/// records there are, and how many of them are tombstones.
async fn holds(client: &Client, orders: &Orders) -> Result<(usize, usize)> {
    let mut reader = client.replay(TOPIC).until(End::Latest).open().await?;
    let (mut found, mut last, mut count, mut tombstones) = (Orders::new(), None, 0, 0);
    while let Some(record) = reader.next().await {
        let record = record?;
        ensure!(last < Some(record.offset), "offset {} comes after {last:?}", record.offset);
        last = Some(record.offset);
        count += 1;
        tombstones += usize::from(record.value.is_none());
        let key = String::from_utf8_lossy(record.key.as_ref().context("a key")?).into_owned();
        let value = record.value.as_ref().and_then(|value| value.first().copied());
        found.insert(key, value);
    }
    let left = |orders: &Orders| -> Orders {
        orders.iter().filter(|(_, value)| value.is_some()).map(|(k, v)| (k.clone(), *v)).collect()
    };
    ensure!(left(&found) == left(orders), "found {found:?}, acknowledged {orders:?}");
    Ok((count, tombstones))
}

/// Two nodes that compact and let tombstones go, one that does neither.
async fn start() -> Result<(Cluster, Client, Orders)> {
    let mut options = ClusterOptions::default();
    for setting in [
        "cluster.shards-per-node=1",
        "storage.checkpoint-interval=300ms",
        "storage.retention-interval=200ms",
        "storage.scrub-interval=2s",
        "log.format=text",
    ] {
        options.settings.push(setting.to_owned());
    }
    let mut cluster = Cluster::start_with(options).await?;
    cluster.node(KEEPS_ALL).kill()?;
    cluster.node(KEEPS_ALL).set_flag("storage.retention-interval=1h");
    cluster.node(KEEPS_ALL).start()?;
    cluster.wait_healthy().await?;
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC)
        .set("cleanup-policy", "compact")
        .set("segment-bytes", "1MiB")
        .set("tombstone-retention", "1s")
        .set("compaction-lag-max", "1s");
    client.admin().create_topic(topic).await?;
    let mut orders = Orders::new();
    let named =
        |prefix: &str| -> Vec<String> { (0..KEYS).map(|n| format!("{prefix}{n:02}")).collect() };
    let (first, second) = (named("a"), named("b"));
    for round in 1..=4 {
        write(&client, &mut orders, &first, Some(round)).await?;
    }
    write(&client, &mut orders, &first[..KEYS / 2], None).await?;
    for round in 5..=8 {
        write(&client, &mut orders, &second, Some(round)).await?;
    }
    Ok((cluster, client, orders))
}

async fn mended(cluster: &Cluster, node: u64) -> Result<f64> {
    let node = cluster.nodes().iter().find(|it| it.id() == node).context("a node")?;
    let page = metrics::scrape(node.metrics_address()).await?;
    let line = page.lines().find_map(|line| line.strip_prefix("quipu_segment_mended_total "));
    Ok(line.map_or(Ok(0.0), |value| value.trim().parse())?)
}

/// Rots segments of a node while it is down.
fn rots(cluster: &mut Cluster, node: u64, places: &[usize]) -> Result<()> {
    cluster.node(node).kill()?;
    let files = segments(cluster, node)?;
    ensure!(files.len() > 3, "too few segments: {files:?}");
    for place in places {
        rot(&files[*place], *place)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_log_is_mended_and_no_key_comes_back_to_life() -> Result<()> {
    let (mut cluster, client, orders) = start().await?;
    // The tombstones are gone where the topic is compacted, and what they were for.
    until("tombstones to go", WAIT, async || {
        for node in [1, 2] {
            let shard = client.admin().describe_topic(TOPIC).await?.partitions[0].shard;
            client.admin().transfer_leader(ShardId::new(shard), NodeId::new(node)).await?;
            let (_, tombstones) = holds(&client, &orders).await?;
            ensure!(tombstones == 0, "node {node} has {tombstones}");
        }
        Ok(())
    })
    .await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;

    // One that compacted, from the one that has everything; then that one, from those that
    // compacted.
    for (damaged, away, places) in [(1, Some(2), &[0, 2][..]), (KEEPS_ALL, None, &[1][..])] {
        rots(&mut cluster, damaged, places)?;
        if let Some(away) = away {
            cluster.node(away).kill()?;
        }
        cluster.node(damaged).start()?;
        until("a mended log", WAIT, async || {
            let segments = mended(&cluster, damaged).await?;
            ensure!(segments >= 1.0, "nothing is mended");
            Ok(())
        })
        .await?;
        if let Some(away) = away {
            cluster.node(away).start()?;
        }
        cluster.wait_healthy().await?;
        until("what was acknowledged", WAIT, || holds(&client, &orders)).await?;
        replicas::are_identical(&cluster, TOPIC, 1).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_a_compacted_log_is_mended_loses_nothing() -> Result<()> {
    let (mut cluster, client, mut orders) = start().await?;
    until("compaction", WAIT, async || {
        let first = segments(&cluster, 1)?.first().cloned().context("a segment")?;
        ensure!(std::fs::metadata(&first)?.len() < 200 << 10, "it is as large as ever");
        Ok(())
    })
    .await?;
    let points = [
        "segment.replace.marked=crash",
        "segment.replace.rename.before=crash",
        "segment.replace.rename.before=1*off->crash",
        "segment.replace.renamed=crash",
    ];
    for (round, point) in (20..).zip(points) {
        rots(&mut cluster, 1, &[0, 1])?;
        cluster.node(1).arm(point);
        cluster.node(1).start()?;
        cluster.node(1).wait_exit(WAIT).await.context(point)?;
        let key = "a00".to_owned();
        write(&client, &mut orders, &[key], Some(round)).await?;
        cluster.node(1).start()?;
        cluster.wait_healthy().await?;
        until("what was acknowledged", WAIT, || holds(&client, &orders)).await.context(point)?;
        replicas::are_identical(&cluster, TOPIC, 1).await.context(point)?;
        let data = cluster.node(1).dir().join("data/partitions");
        for folder in std::fs::read_dir(data)? {
            let mark = folder?.path().join("mending");
            ensure!(!mark.exists(), "{} is left", mark.display());
        }
    }
    Ok(())
}
