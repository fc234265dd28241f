//! Of each key the newest record stays, in its place, on every replica, whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, Codec, End, ErrorCode, NewRecord, NewTopic, Producer, Record};
use quipu_testkit::{Cluster, ClusterOptions, metrics, replicas, until};

const TOPIC: &str = "healthtech.patient.state";
const WAIT: Duration = Duration::from_secs(90);
const KEYS: usize = 40;

/// Every record from the start to the end of now.
async fn read(client: &Client) -> Result<Vec<Record>> {
    let mut reader = client.replay(TOPIC).until(End::Latest).open().await?;
    let mut records = Vec::new();
    while let Some(record) = reader.next().await {
        records.push(record?);
    }
    Ok(records)
}

/// Publishes a value of 16 KiB that begins with a number, or a tombstone, for each of some keys.
async fn write(producer: &Producer, keys: &[String], round: Option<u8>) -> Result<()> {
    for key in keys {
        let record = match round {
            Some(round) => NewRecord::new(TOPIC, vec![round; 16 << 10]).key(key.clone()),
            None => NewRecord::tombstone(TOPIC, key.clone()),
        };
        drop(producer.enqueue(record).await?);
    }
    producer.flush().await?;
    Ok(())
}

fn keys(prefix: &str) -> Vec<String> {
    (0..KEYS).map(|n| format!("{prefix}-{n}")).collect()
}

/// What a reader knows of each key in the end: the first byte of its value.
fn state(records: &[Record]) -> BTreeMap<String, Option<u8>> {
    let mut state = BTreeMap::new();
    for record in records {
        let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
        let value = record.value.as_ref().and_then(|value| value.first().copied());
        state.insert(key.unwrap_or_default(), value);
    }
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_record_of_each_key_stays_and_tombstones_go_in_time() -> Result<()> {
    let mut options = ClusterOptions::default();
    options.settings.push("storage.retention-interval=300ms".to_owned());
    options.settings.push("storage.checkpoint-interval=1s".to_owned());
    let mut cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC)
        .set("cleanup-policy", "compact")
        .set("segment-bytes", "1MiB")
        .set("tombstone-retention", "2s")
        .set("compaction-lag-max", "1s");
    client.admin().create_topic(topic).await?;
    let producer = client.producer().build()?;

    // Five values of each key; the first key is deleted; what follows seals it all.
    let (patients, others) = (keys("patient"), keys("other"));
    for round in 1..=5 {
        write(&producer, &patients, Some(round)).await?;
    }
    write(&producer, &patients[..1], None).await?;
    write(&producer, &others, Some(9)).await?;
    write(&producer, &others, Some(10)).await?;
    let written = 5 * KEYS + 1 + 2 * KEYS;

    let mut expected: BTreeMap<String, Option<u8>> =
        patients[1..].iter().map(|key| (key.clone(), Some(5))).collect();
    expected.extend(others.iter().map(|key| (key.clone(), Some(10))));
    let is_compacted = || async {
        let records = read(&client).await?;
        let ascends = records.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        ensure!(ascends, "offsets fall");
        // All of the first five rounds were sealed; of the others two segments may grow.
        let of_patients = records.iter().filter(|it| it.offset < (5 * KEYS) as u64).count();
        ensure!(of_patients == KEYS - 1, "{of_patients} of {} are there", records.len());
        ensure!(state(&records) == expected, "{:?}", state(&records));
        Ok(records)
    };
    let records = until("compaction", WAIT, is_compacted).await?;
    ensure!(records.len() < written - 4 * KEYS, "{} are left of {written}", records.len());
    // The last of a key stays in its place.
    for record in records.iter().filter(|record| record.offset < (5 * KEYS) as u64) {
        ensure!(record.offset >= (4 * KEYS) as u64, "an old one is there: {}", record.offset);
    }
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    let labels = [r#"topic="healthtech.patient.state""#, r#"reason="compaction""#];
    let counted = metrics::sum(&cluster, "quipu_topic_records_deleted_total", &labels).await?;
    ensure!(counted >= (4 * KEYS) as f64, "{counted} are counted");

    // The producer goes on where it was: its sequences are none of compaction's business.
    write(&producer, &patients[1..2], Some(77)).await?;
    expected.insert(patients[1].clone(), Some(77));
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let after = until("the state", WAIT, || async {
        let state = state(&read(&client).await?);
        ensure!(state == expected, "{state:?}");
        Ok(())
    });
    after.await?;
    write(&producer, &patients[1..2], Some(78)).await?;
    producer.close(WAIT).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;

    // Records whose key nobody sees are refused before they are written.
    let keyless = client.publish(NewRecord::new(TOPIC, "no key")).await;
    let keyless = keyless.err().context("a record without key was taken")?;
    ensure!(keyless.code() == Some(ErrorCode::KeyRequired), "{keyless}");
    let zipped = client.producer().compression(Codec::Lz4).build()?;
    let keyless = zipped.publish(NewRecord::new(TOPIC, vec![0; 9_000])).await;
    let keyless = keyless.err().context("a compressed record without key was taken")?;
    ensure!(keyless.code() == Some(ErrorCode::KeyRequired), "{keyless}");
    Ok(())
}

/// A value of 16 KiB, half of which no codec makes smaller.
fn noisy(round: u8, seed: usize) -> Vec<u8> {
    let mut state = u64::try_from(seed).unwrap_or(0) * 977 + u64::from(round);
    let mut value = vec![round; 16 << 10];
    for byte in &mut value[8 << 10..] {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_be_bytes()[0];
    }
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_batches_are_compacted_as_others_are() -> Result<()> {
    let mut options = ClusterOptions::default();
    options.settings.push("storage.retention-interval=300ms".to_owned());
    options.settings.push("storage.checkpoint-interval=1s".to_owned());
    let mut cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    let topic = NewTopic::new(TOPIC)
        .set("cleanup-policy", "compact")
        .set("segment-bytes", "1MiB")
        .set("compaction-lag-max", "1s");
    client.admin().create_topic(topic).await?;

    // Each codec writes the same keys once more; the first producer's goes on after a crash.
    let patients = keys("patient");
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let mut acknowledged: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
    for (round, codec) in (1_u8..).zip([codecs, codecs].concat()) {
        let producer = client.producer().compression(codec).build()?;
        let mut waiting = Vec::new();
        for (seed, key) in patients.iter().enumerate() {
            let value = noisy(round, seed);
            let record = NewRecord::new(TOPIC, value.clone()).key(key.clone());
            waiting.push((key.clone(), value, producer.enqueue(record).await?));
        }
        producer.flush().await?;
        for (key, value, delivery) in waiting {
            let offset = delivery.await?.offset.context("an offset")?;
            acknowledged.insert(key, (offset, value));
        }
        producer.close(WAIT).await?;
        if round == 5 {
            cluster.kill_all()?;
            cluster.start_all()?;
            cluster.wait_healthy().await?;
        }
    }
    let written = 8 * KEYS;
    let holds = || async {
        let records = read(&client).await?;
        let mut found = BTreeMap::new();
        for record in &records {
            let key = record.key.as_ref().context("a key")?;
            let value = record.value.as_ref().context("a value")?;
            let key = String::from_utf8_lossy(key).into_owned();
            found.insert(key, (record.offset, value.to_vec()));
        }
        ensure!(found == acknowledged, "the newest records are others");
        ensure!(records.len() <= written - 4 * KEYS, "{} are left of {written}", records.len());
        Ok(())
    };
    until("compaction", WAIT, holds).await?;
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    let opaque = metrics::sum(&cluster, "quipu_segment_opaque_batches_total", &[]).await?;
    ensure!(opaque == 0.0, "{opaque} batches could not be looked into");
    Ok(())
}
