//! The load generator.

use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use quipu_client::{Client, Delivery, NewRecord};
use quipu_runtime::Rng;
use quipu_types::Acks;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::DRAIN_WAIT;
use super::nodes::Counters;

/// Deliveries between sending and counting, per producer: more than the client's buffer holds.
const DELIVERIES_MAX: usize = 200_000;
/// The schedule is looked at this often.
const TICK: Duration = Duration::from_millis(1);
/// Different payloads, so that nothing compresses or caches them away.
const PAYLOADS: usize = 64;
/// Latencies up to this are counted, µs.
const LATENCY_US_MAX: u64 = 120_000_000;

/// What is offered.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) acks: Acks,
    /// Records per second over all producers; 0: as many as are taken.
    pub(super) rate: u64,
    pub(super) record_bytes: usize,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) producers: u32,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
}

/// What came of the measured part.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) elapsed: Duration,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) latency_us: Histogram<u64>,
    /// How late records were sent, against the schedule.
    pub(super) lag_us: Histogram<u64>,
}

impl Outcome {
    fn new(elapsed: Duration) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).context("histogram");
        Ok(Self { elapsed, acked: 0, failed: 0, latency_us: histogram()?, lag_us: histogram()? })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.acked += other.acked;
        self.failed += other.failed;
        self.latency_us.add(&other.latency_us)?;
        self.lag_us.add(&other.lag_us)?;
        Ok(())
    }
}

/// Runs every producer; `boundary` is called where the measured part begins and ends.
pub(super) async fn run(
    load: &Load,
    clients: Vec<Client>,
    topic: &str,
    boundary: impl AsyncFn(Option<Counters>) -> anyhow::Result<Option<Counters>>,
) -> anyhow::Result<(Outcome, Option<Counters>)> {
    let begin = Instant::now();
    let from = begin + load.warmup;
    let until = from + load.duration;
    let mut producers = JoinSet::new();
    for (at, client) in clients.into_iter().enumerate() {
        let (load, topic) = (load.clone(), topic.to_owned());
        producers.spawn(produce(load, client, topic, u64::try_from(at)?, (begin, from, until)));
    }
    tokio::time::sleep_until(from).await;
    let before = boundary(None).await?;
    tokio::time::sleep_until(until).await;
    let spent = match before {
        Some(before) => boundary(Some(before)).await?,
        None => None,
    };
    let mut total = Outcome::new(load.duration)?;
    while let Some(outcome) = producers.join_next().await {
        total.add(&outcome??)?;
    }
    Ok((total, spent))
}

/// A record that was handed over: when it should have been sent, and its delivery.
struct Sent {
    intended: Instant,
    delivery: Delivery,
}

async fn produce(
    load: Load,
    client: Client,
    topic: String,
    seed: u64,
    (begin, from, until): (Instant, Instant, Instant),
) -> anyhow::Result<Outcome> {
    let producer = client
        .producer()
        .acks(load.acks)
        .linger(load.linger)
        .batch_bytes(load.batch_bytes)
        .idempotent(load.acks == Acks::Quorum)
        .build()?;
    let payloads = payloads(load.record_bytes, seed);
    let (sent, received) = mpsc::channel(DELIVERIES_MAX);
    #[expect(clippy::disallowed_methods, reason = "the load generator owns its runtime")]
    let counting = tokio::spawn(count(received, load.duration, (from, until)));
    let mut lag = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3)?;
    let schedule = Schedule { rate: load.rate.max(1), producers: load.producers };
    let mut number = 0_u64;
    while Instant::now() < until {
        let now = Instant::now();
        let due = if load.rate == 0 { number + 1_000 } else { schedule.due(now - begin)? };
        while number < due {
            let intended =
                if load.rate == 0 { Instant::now() } else { begin + schedule.at(number)? };
            let payload = payloads[usize::try_from(number)? % PAYLOADS].clone();
            let delivery = producer.enqueue(NewRecord::new(topic.as_str(), payload)).await?;
            let late = intended.elapsed();
            if intended >= from && load.rate != 0 {
                lag.saturating_record(u64::try_from(late.as_micros())?);
            }
            sent.send(Sent { intended, delivery }).await.context("the counter ended")?;
            number += 1;
        }
        if load.rate != 0 {
            tokio::time::sleep_until(now + TICK).await;
        }
    }
    drop(sent);
    producer.flush().await?;
    let mut outcome = tokio::time::timeout(DRAIN_WAIT, counting).await.context("drain")???;
    outcome.lag_us = lag;
    producer.close(Duration::from_secs(10)).await?;
    Ok(outcome)
}

/// Evenly spaced send times: each producer has its share of the rate.
struct Schedule {
    rate: u64,
    producers: u32,
}

impl Schedule {
    /// How many records are due after a time.
    fn due(&self, after: Duration) -> anyhow::Result<u64> {
        let count =
            after.as_nanos() * u128::from(self.rate) / (1_000_000_000 * u128::from(self.producers));
        Ok(u64::try_from(count)?)
    }

    /// When a record is due.
    fn at(&self, number: u64) -> anyhow::Result<Duration> {
        let nanos =
            u128::from(number) * 1_000_000_000 * u128::from(self.producers) / u128::from(self.rate);
        Ok(Duration::from_nanos(u64::try_from(nanos)?))
    }
}

/// Counts deliveries that were due, or (without a rate) acknowledged, within the measured part.
async fn count(
    mut received: mpsc::Receiver<Sent>,
    duration: Duration,
    (from, until): (Instant, Instant),
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new(duration)?;
    while let Some(Sent { intended, delivery }) = received.recv().await {
        let result = delivery.await;
        let now = Instant::now();
        if now < from || now > until {
            continue;
        }
        match result {
            Ok(_) => {
                outcome.acked += 1;
                let latency = now.duration_since(intended).as_micros();
                outcome.latency_us.saturating_record(u64::try_from(latency)?.max(1));
            }
            Err(_) => outcome.failed += 1,
        }
    }
    Ok(outcome)
}

fn payloads(bytes: usize, seed: u64) -> Vec<Bytes> {
    let mut rng = Rng::seeded(seed);
    (0..PAYLOADS)
        .map(|_| {
            let mut payload = BytesMut::with_capacity(bytes + 8);
            while payload.len() < bytes {
                payload.extend_from_slice(&rng.next_u64().to_le_bytes());
            }
            payload.truncate(bytes);
            payload.freeze()
        })
        .collect()
}
