//! Appends to one partition by the client's producer, as fast as answers come and not faster
//! than its pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quipu_client::{Client, Producer};
use quipu_runtime::Clock;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::payload;
use super::place::Place;
use super::refusal::of_client;
use crate::history::{Acks, Call, Outcome, Session};

/// Appends without an answer at one time.
const WINDOW: usize = 32;
/// When the producer gives up.
const DELIVERY: Duration = Duration::from_secs(20);
/// How long answers are waited for at the end.
const DRAIN: Duration = Duration::from_secs(25);

/// Appends to one partition.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) session: Session,
    pub(super) place: Place,
    pub(super) acks: Acks,
    /// Between two appends at least.
    pub(super) pace: Duration,
    /// Numbers for records, shared by all appenders.
    pub(super) numbers: Arc<AtomicU64>,
    /// Counts acknowledged records of all appenders.
    pub(super) acked: Arc<AtomicU64>,
}

impl Appender {
    /// Appends until told to stop, and waits for the answers that are still to come. Calls whose
    /// answer does not come stay open in the history.
    pub(super) async fn run(self, client: Client, mut stop: watch::Receiver<bool>) -> Result<()> {
        let producer = self.producer(&client)?;
        let clock = Clock::system();
        let mut pace = tokio::time::interval(self.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                Some(()) = open.next(), if !open.is_empty() => {}
                _ = pace.tick(), if open.len() < WINDOW => {
                    open.push(self.append(&producer, clock.wall_ms()));
                }
            }
        }
        let drained = async { while open.next().await.is_some() {} };
        let _late = tokio::time::timeout(DRAIN, drained).await;
        Ok(())
    }

    fn producer(&self, client: &Client) -> Result<Producer> {
        let acks = match self.acks {
            Acks::None => quipu_client::Acks::None,
            Acks::Leader => quipu_client::Acks::Leader,
            Acks::Quorum => quipu_client::Acks::Quorum,
        };
        Ok(client.producer().acks(acks).delivery_timeout(DELIVERY).build()?)
    }

    async fn append(&self, producer: &Producer, wall_ms: i64) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (record, value) = payload::record(&self.place, number, wall_ms);
        let id = self.session.invoke(Call::Append {
            partition: self.place.name(),
            acks: self.acks,
            producer: None,
            // Without idempotence the client may send again what did not seem to arrive.
            resends: self.acks != Acks::Quorum,
            values: vec![value],
        });
        let delivered = match producer.enqueue(record).await {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        match delivered {
            Ok(receipt) => {
                self.session.ok(id, Outcome::Appended { offset: receipt.offset });
                self.acked.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.session.failed(id, of_client(&error)),
        }
    }
}
