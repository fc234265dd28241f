//! Where a group begins that has no position, or one that nobody can read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use quipu_client::{
    Client, ConsumerEvent, Error, NewRecord, OutOfRange, Start, TimestampMs, TopicPartition,
};
use quipu_testkit::until;

use crate::crew::{WAIT, cluster, committed, deliver, next, producer, value};

const TOPIC: &str = "tides";
const HOUR: Duration = Duration::from_secs(3_600);
/// Records of each hour.
const EACH: usize = 10;
/// A position that no record has.
const NOWHERE: u64 = 1_000;

/// Ages and times are fixed when the subscription begins: the first record at or after them, the end
/// where there is none; and the choice is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_starts_at_an_age_or_a_time() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 1).await?;
    let now = now()?;
    let hours_ago = |hours: i64| TimestampMs::new(now - hours * 3_600_000);
    for hours in [3, 1, 0] {
        write(&client, EACH, hours_ago(hours)).await?;
    }
    let cases = [
        ("two hours", Start::Ago(2 * HOUR), 10),
        ("ten hours", Start::Ago(10 * HOUR), 0),
        ("at a record", Start::Timestamp(hours_ago(1)), 10),
        ("behind it", Start::Timestamp(TimestampMs::new(hours_ago(1).get() + 1)), 20),
    ];
    for (group, start, expected) in cases {
        let mut consumer = client.subscribe([TOPIC]).group(group).start_at(start).join().await?;
        let message = next(&mut consumer).await?;
        ensure!(message.offset == expected, "{group}: it began at {}", message.offset);
        is_stored(&client, group, expected).await?;
        drop(message);
        consumer.shutdown(WAIT).await?;
    }
    let future = client.subscribe([TOPIC]).group("future");
    let mut consumer = future.start_at(Start::Timestamp(hours_ago(-1))).join().await?;
    is_stored(&client, "future", 30).await?;
    write(&client, 1, hours_ago(0)).await?;
    let message = next(&mut consumer).await?;
    ensure!(message.offset == 30, "after the end it began at {}", message.offset);
    message.ack().await?;
    consumer.shutdown(WAIT).await?;
    Ok(())
}

/// A position above the end is an error, or a typed event, as the subscription says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_above_the_end_follows_its_policy() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 1).await?;
    write(&client, EACH, TimestampMs::new(now()?)).await?;
    for group in ["fails", "earliest", "latest"] {
        client.admin().commit_offsets(group, [(TOPIC, 0, NOWHERE)]).await?;
    }

    let fails = client.subscribe([TOPIC]).group("fails").on_above_end(OutOfRange::Fail);
    let mut consumer = fails.join().await?;
    let item = tokio::time::timeout(WAIT, consumer.next()).await?.context("it ended")?;
    let error = item.err().context("a record has no such offset")?;
    let Error::OffsetOutOfRange(found) = &error else { bail!("{error}") };
    ensure!((found.offset, found.high_watermark) == (NOWHERE, 10), "{found}");
    ensure!(committed(&client, "fails").await?.get(&0) == Some(&NOWHERE), "it was changed");
    consumer.shutdown(WAIT).await?;

    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let earliest = client.subscribe([TOPIC]).group("earliest").on_above_end(OutOfRange::Earliest);
    let noted = earliest.on_event(move |event| seen.lock().unwrap().push(event));
    let mut consumer = noted.join().await?;
    let message = next(&mut consumer).await?;
    ensure!(message.offset == 0, "it went on at {}", message.offset);
    message.ack().await?;
    ensure!(*events.lock().unwrap() == [above_end()], "{events:?}");
    let stored = committed(&client, "earliest").await?;
    ensure!(stored.get(&0) == Some(&1), "{stored:?}, not 1");
    consumer.shutdown(WAIT).await?;

    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let latest = client.subscribe([TOPIC]).group("latest").on_above_end(OutOfRange::Latest);
    let noted = latest.on_event(move |event| seen.lock().unwrap().push(event));
    let mut consumer = noted.join().await?;
    until("the event", WAIT, || async {
        ensure!(*events.lock().unwrap() == [above_end()], "{events:?}");
        Ok(())
    })
    .await?;
    write(&client, 1, TimestampMs::new(now()?)).await?;
    let message = next(&mut consumer).await?;
    ensure!(message.offset == 10, "it went on at {}", message.offset);
    message.ack().await?;
    consumer.shutdown(WAIT).await?;
    Ok(())
}

fn above_end() -> ConsumerEvent {
    let partition = TopicPartition::new(TOPIC, 0);
    ConsumerEvent::AboveEnd { partition, position: NOWHERE, high_watermark: 10 }
}

fn now() -> Result<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

async fn write(client: &Client, count: usize, at: TimestampMs) -> Result<()> {
    let record = |number| NewRecord::new(TOPIC, value(TOPIC, number)).timestamp(at);
    deliver(&producer(client)?, (0..count).map(record)).await
}

async fn is_stored(client: &Client, group: &str, position: u64) -> Result<()> {
    until("the start to be stored", WAIT, || async {
        let stored = committed(client, group).await?;
        ensure!(stored.get(&0) == Some(&position), "{group}: {stored:?}, not {position}");
        Ok(())
    })
    .await
}
