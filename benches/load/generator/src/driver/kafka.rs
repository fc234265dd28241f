//! Apache Kafka, by librdkafka: its threads send and receive, ours hands over and counts.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::Map;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::{Driver, Lanes, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::{Mode, Plan};

const CREATE_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);
const FULL_WAIT: Duration = Duration::from_millis(1);

/// A cluster.
pub(crate) struct Kafka(AdminClient<DefaultClientContext>);

/// One producer.
pub(crate) struct Publisher {
    producer: FutureProducer,
    topic: String,
    lanes: Lanes<Acknowledged>,
}

type Told = Result<OwnedDeliveryResult, futures::channel::oneshot::Canceled>;
type Acknowledged = Map<DeliveryFuture, fn(Told) -> Result<(), KafkaError>>;

fn config(plan: &Plan) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", plan.servers.join(","));
    config.set("socket.nagle.disable", "true");
    config.set("log_level", "3");
    config
}

impl Driver for Kafka {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        Ok(Self(config(plan).create()?))
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let deadline = tokio::time::Instant::now() + CREATE_WAIT;
        loop {
            let created = self.try_create(plan).await;
            let Err(error) = created else { break };
            // Brokers register one after the other.
            ensure!(tokio::time::Instant::now() < deadline, error);
            tokio::time::sleep(LOOK).await;
        }
        self.wait_for_leaders(plan, deadline).await
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let is_alone = plan.mode == Mode::OneByOne;
        let linger_us = if is_alone { 0 } else { plan.linger_us };
        let mut config = config(plan);
        config.set("acks", "all");
        config.set("enable.idempotence", "true");
        config.set("linger.ms", milliseconds(linger_us));
        config.set("batch.size", plan.batch_bytes.to_string());
        config.set("message.max.bytes", plan.batch_bytes.max(1_000_000).to_string());
        // The plan's in-flight bound comes first.
        config.set("queue.buffering.max.messages", "1000000");
        config.set("queue.buffering.max.kbytes", "1048576");
        let producer = config.create()?;
        Ok(Publisher { producer, topic: plan.topic.clone(), lanes: Lanes::new(book) })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let mut config = config(plan);
        config.set("group.id", format!("{}-{}", plan.topic, share.group));
        config.set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "500");
        config.set("fetch.min.bytes", "1");
        let consumer: StreamConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in share.partitions {
            // A fresh topic has nothing before the first record, so this misses none, and the end
            // would be looked up after the first are sent.
            let partition = i32::try_from(partition)?;
            list.add_partition_offset(&plan.topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(async move {
            loop {
                let record = consumer.recv().await?;
                sink.arrived(record.payload().unwrap_or_default());
            }
        }
        .boxed_local())
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03}", microseconds / 1_000, microseconds % 1_000)
}

impl Kafka {
    async fn try_create(&self, plan: &Plan) -> Result<()> {
        let replication = TopicReplication::Fixed(i32::try_from(plan.replicas)?);
        let mut topic = NewTopic::new(&plan.topic, i32::try_from(plan.partitions)?, replication);
        for setting in &plan.topic_config {
            let (key, value) = setting.split_once('=').context("--topic-config is key=value")?;
            topic = topic.set(key, value);
        }
        let bytes = plan.retention_bytes.map(|bytes| bytes.to_string());
        if let Some(bytes) = &bytes {
            topic = topic.set("retention.bytes", bytes).set("segment.bytes", bytes);
        }
        let options = AdminOptions::new().operation_timeout(Some(CREATE_WAIT));
        for result in self.0.create_topics([&topic], &options).await? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => bail!("create topic {name}: {code}"),
            }
        }
        Ok(())
    }

    async fn wait_for_leaders(&self, plan: &Plan, deadline: tokio::time::Instant) -> Result<()> {
        loop {
            // It blocks, but nothing else happens yet.
            let known = self.0.inner().fetch_metadata(Some(&plan.topic), CREATE_WAIT)?;
            let partitions = known.topics().first().map_or(&[][..], |topic| topic.partitions());
            let led = partitions.iter().filter(|it| it.leader() >= 0 && it.isr().len() > 1).count();
            if led == usize::try_from(plan.partitions)? {
                return Ok(());
            }
            let is_late = tokio::time::Instant::now() >= deadline;
            ensure!(!is_late, "{led} of {} partitions have a leader", plan.partitions);
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        let partition = i32::try_from(ticket.partition)?;
        let mut record = FutureRecord::<(), [u8]>::to(&self.topic)
            .partition(partition)
            .payload(payload.as_ref());
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => {
                    self.lanes.push(delivery.map(told as fn(_) -> _), ticket);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    tokio::time::sleep(FULL_WAIT).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

fn told(told: Told) -> Result<(), KafkaError> {
    match told {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
