//! Members that note what they handled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{
    Client, Consumer, ConsumerBuilder, Message, NewRecord, NewTopic, Producer, TopicPartition,
};
use quipu_testkit::{Cluster, until};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Enough for sessions, elections and restarts on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(90);
/// The shortest there is.
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// One record handled by one member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handled {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) value: String,
    pub(crate) member: String,
}

/// What all members of a crew handled, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Handled>>>);

impl Log {
    pub(crate) fn note(&self, handled: Handled) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(handled);
    }

    pub(crate) fn all(&self) -> Vec<Handled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What one member handled.
    pub(crate) fn of(&self, member: &str) -> Vec<Handled> {
        self.all().into_iter().filter(|handled| handled.member == member).collect()
    }

    /// Distinct values.
    pub(crate) fn values(&self) -> BTreeSet<String> {
        self.all().into_iter().map(|handled| handled.value).collect()
    }
}

/// A running member.
pub(crate) struct Member {
    pub(crate) id: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Member {
    /// Joins and handles records until told to stop; each is acked after it was noted.
    pub(crate) async fn start(name: &str, consumer: ConsumerBuilder, log: &Log) -> Result<Self> {
        Self::start_slow(name, consumer, log, Duration::ZERO).await
    }

    /// As [`Self::start`]; each record is so much work.
    pub(crate) async fn start_slow(
        name: &str,
        consumer: ConsumerBuilder,
        log: &Log,
        work: Duration,
    ) -> Result<Self> {
        let mut consumer: Consumer = consumer.join().await.with_context(|| name.to_owned())?;
        let id = consumer.member_id().to_owned();
        let (stop, mut stopped) = watch::channel(false);
        let (log, member) = (log.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = consumer.next() => message,
                    _ = stopped.changed() => None,
                };
                let Some(message) = message.transpose()? else { break };
                if !work.is_zero() {
                    tokio::time::sleep(work).await;
                }
                let value = message.value.clone().unwrap_or_default();
                log.note(Handled {
                    topic: message.topic.to_string(),
                    partition: message.partition,
                    offset: message.offset,
                    value: String::from_utf8_lossy(&value).into_owned(),
                    member: member.clone(),
                });
                message.ack_later();
            }
            consumer.shutdown(Duration::from_secs(20)).await?;
            Ok(())
        });
        Ok(Self { id, stop, task })
    }

    /// Commits, leaves and ends.
    pub(crate) async fn leave(self) -> Result<()> {
        let _ = self.stop.send(true);
        self.task.await?
    }

    /// Whether it had no error so far.
    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// Three nodes and a topic.
pub(crate) async fn cluster(topic: &str, partitions: u32) -> Result<(Cluster, Client)> {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(topic).partitions(partitions)).await?;
    Ok((cluster, client))
}

/// The next message of a consumer.
pub(crate) async fn next(consumer: &mut Consumer) -> Result<Message> {
    let next = tokio::time::timeout(WAIT, consumer.next()).await.context("no message came")?;
    Ok(next.context("the consumer ended")??)
}

/// What a numbered record carries.
pub(crate) fn value(topic: &str, number: usize) -> String {
    format!("{topic}-{number}")
}

/// Publishes numbered records by key; resolves once all are acknowledged.
pub(crate) async fn publish(
    client: &Client,
    topic: &str,
    numbers: Range<usize>,
) -> Result<BTreeSet<String>> {
    publish_by(&producer(client)?, topic, numbers).await
}

/// As [`publish`], by a producer that there is.
pub(crate) async fn publish_by(
    producer: &Producer,
    topic: &str,
    numbers: Range<usize>,
) -> Result<BTreeSet<String>> {
    let record = |number| NewRecord::new(topic, value(topic, number)).key(key(number));
    deliver(producer, numbers.clone().map(record)).await?;
    Ok(numbers.map(|number| value(topic, number)).collect())
}

/// The key of a numbered record.
pub(crate) fn key(number: usize) -> String {
    format!("key-{}", number % 97)
}

/// As [`publish`], but each partition gets the same number of records.
pub(crate) async fn spread(
    client: &Client,
    topic: &str,
    numbers: Range<usize>,
    partitions: usize,
) -> Result<BTreeSet<String>> {
    let mut records = Vec::new();
    for number in numbers.clone() {
        let partition = u32::try_from(number % partitions)?;
        records.push(NewRecord::new(topic, value(topic, number)).partition(partition));
    }
    deliver(&producer(client)?, records).await?;
    Ok(numbers.map(|number| value(topic, number)).collect())
}

/// A producer that outlasts elections and restarts.
pub(crate) fn producer(client: &Client) -> Result<Producer> {
    Ok(client.producer().delivery_timeout(WAIT).build()?)
}

/// Publishes records; resolves once all are acknowledged.
pub(crate) async fn deliver(
    producer: &Producer,
    records: impl IntoIterator<Item = NewRecord>,
) -> Result<()> {
    let mut deliveries = Vec::new();
    for record in records {
        deliveries.push(producer.enqueue(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}

/// Waits until the crew handled all of these values.
pub(crate) async fn handles_all(log: &Log, values: &BTreeSet<String>) -> Result<()> {
    until("all records to be handled", WAIT, || async {
        let handled = log.values();
        let missing = values.difference(&handled).count();
        ensure!(missing == 0, "{missing} of {} are missing", values.len());
        Ok(())
    })
    .await
}

/// Waits until a group has read and committed everything; what was deleted does not count.
pub(crate) async fn is_drained(client: &Client, group: &str) -> Result<()> {
    until("lag 0", WAIT, || async {
        let group = client.admin().describe_group(group).await?;
        let there: Vec<_> = group.partitions.iter().filter(|it| !it.topic.is_empty()).collect();
        let behind = there.iter().find(|it| it.lag != Some(0));
        ensure!(behind.is_none(), "{behind:?}");
        ensure!(!there.is_empty(), "no partition");
        Ok(())
    })
    .await
}

/// Who owns each partition now, once the group is stable with so many members.
pub(crate) async fn owners(
    client: &Client,
    group: &str,
    members: usize,
) -> Result<BTreeMap<String, String>> {
    until("a stable group", WAIT, || async {
        let group = client.admin().describe_group(group).await?;
        ensure!(group.summary.state == "stable", "{} {}", group.summary.state, group.last_change);
        ensure!(group.members.len() == members, "{} members", group.members.len());
        let owners = group.partitions.iter().filter_map(|partition| {
            let name = format!("{}/{}", partition.topic, partition.partition);
            Some((name, partition.owner.clone()?))
        });
        Ok(owners.collect())
    })
    .await
}

/// What a group has committed in the partitions of its only topic.
pub(crate) async fn committed(client: &Client, group: &str) -> Result<BTreeMap<u32, u64>> {
    let stored = client.admin().fetch_offsets(group).await?.into_iter();
    Ok(stored.map(|(TopicPartition { partition, .. }, at)| (partition, at.offset)).collect())
}

/// The node that coordinates a group.
pub(crate) async fn coordinator(client: &Client, group: &str) -> Result<u64> {
    until("a coordinator", WAIT, || async {
        Ok(client.admin().describe_group(group).await?.coordinator)
    })
    .await
}
