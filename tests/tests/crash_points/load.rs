//! What goes on while a node dies: records and positions, each acknowledgement remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quipu_client::{Client, NewRecord, TopicPartition};
use quipu_testkit::{Ledger, dataset, until};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

/// Whose positions are stored.
pub(crate) const GROUP: &str = "coroner";
/// Records without an acknowledgement at most.
const OUTSTANDING_MAX: usize = 16;
/// A crash and an election together take less.
const DELIVERY_WAIT: Duration = Duration::from_secs(60);
/// Between two records, and between two commits.
const PACE: Duration = Duration::from_millis(4);

/// How large records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A line of text.
    Line,
    /// Some dozens fill a segment, some more a journal file.
    Bulk,
}

impl Size {
    /// What records of the size carry.
    pub(crate) fn lines(self) -> Result<Vec<Bytes>> {
        match self {
            Self::Line => dataset::lines(64),
            Self::Bulk => Ok((0..4_u8).map(|kind| Bytes::from(vec![kind; 96 << 10])).collect()),
        }
    }
}

/// A producer and a committer at work on one topic of one partition.
pub(crate) struct Load {
    topic: String,
    ledger: Arc<Ledger>,
    commits: Arc<Commits>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// The last position that was sent, and the last that was acknowledged.
#[derive(Debug, Default)]
struct Commits {
    sent: AtomicU64,
    acked: AtomicU64,
}

impl Load {
    pub(crate) fn start(client: &Client, topic: &str, size: Size) -> Result<Self> {
        let ledger = Arc::new(Ledger::new(topic, size.lines()?));
        let commits = Arc::<Commits>::default();
        let stop = watch::Sender::new(false);
        let records = publish(client.clone(), Arc::clone(&ledger), stop.subscribe());
        let positions =
            commit(client.clone(), topic.to_owned(), Arc::clone(&commits), stop.subscribe());
        let tasks = vec![tokio::spawn(records), tokio::spawn(positions)];
        Ok(Self { topic: topic.to_owned(), ledger, commits, stop, tasks })
    }

    /// Waits until something of each kind was acknowledged since now.
    pub(crate) async fn goes_on(&self, records: usize) -> Result<()> {
        let (before, commits) = (self.ledger.acked(), self.commits.acked.load(Ordering::Acquire));
        until("load to go on", DELIVERY_WAIT, async || {
            let acked = self.ledger.acked();
            ensure!(acked >= before + records, "{acked} records after {before}");
            ensure!(self.commits.acked.load(Ordering::Acquire) > commits, "no commits");
            Ok(())
        })
        .await
    }

    /// Ends it: whatever was sent is acknowledged, or was refused.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            task.await??;
        }
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "{} records failed: {:?}", failed.len(), failed.first());
        Ok(())
    }

    /// Every acknowledgement holds.
    pub(crate) async fn verify(&self, client: &Client) -> Result<()> {
        let verdict = self.ledger.verify(client).await?;
        ensure!(verdict.read == verdict.acked && verdict.acked > 0, "{verdict:?}");
        let stored = until("positions to be read", DELIVERY_WAIT, async || {
            Ok(client.admin().fetch_offsets(GROUP).await?)
        })
        .await?;
        let place = TopicPartition::new(self.topic.as_str(), 0);
        let found = stored.get(&place).context("no position is stored")?.offset;
        let (acked, sent) = (&self.commits.acked, &self.commits.sent);
        let (acked, sent) = (acked.load(Ordering::Acquire), sent.load(Ordering::Acquire));
        ensure!(acked > 0 && (acked..=sent).contains(&found), "{found}, not {acked} to {sent}");
        Ok(())
    }
}

async fn publish(
    client: Client,
    ledger: Arc<Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let producer = client.producer().delivery_timeout(DELIVERY_WAIT).build()?;
    let mut settling = JoinSet::new();
    let mut pace = rhythm();
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            _ = pace.tick() => {}
        }
        let (number, record): (u64, NewRecord) = ledger.record();
        let delivery = producer.enqueue(record).await?;
        let ledger = Arc::clone(&ledger);
        settling.spawn(async move { ledger.settle(number, delivery).await });
        while settling.len() >= OUTSTANDING_MAX {
            settling.join_next().await;
        }
    }
    producer.flush().await?;
    while settling.join_next().await.is_some() {}
    Ok(producer.close(DELIVERY_WAIT).await?)
}

async fn commit(
    client: Client,
    topic: String,
    commits: Arc<Commits>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut pace = rhythm();
    for position in 1.. {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            _ = pace.tick() => {}
        }
        commits.sent.store(position, Ordering::Release);
        // One whose fate is unknown is covered by what was sent.
        let place = [(topic.as_str(), 0, position)];
        if client.admin().commit_offsets(GROUP, place).await.is_ok() {
            commits.acked.store(position, Ordering::Release);
        }
    }
    Ok(())
}

/// What was missed is not made up for.
fn rhythm() -> Interval {
    let mut rhythm = tokio::time::interval(PACE);
    rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rhythm
}
