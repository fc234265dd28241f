//! Quipu, by its client: what a service would link.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::FutureExt;
use quipu_client::{Client, Delivery, NewRecord, NewTopic, Producer, Start, TryEnqueueError};

use super::{Driver, Lanes, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::{Mode, Plan};

const CREATE_WAIT: Duration = Duration::from_secs(120);

/// A cluster.
#[derive(Debug)]
pub(crate) struct Quipu(Client);

/// One producer on a connection of its own.
pub(crate) struct Publisher {
    producer: Producer,
    topic: std::sync::Arc<str>,
    lanes: Lanes<Acknowledged>,
    /// Keeps the connection.
    _client: Client,
}

type Acknowledged =
    futures::future::Map<Delivery, fn(quipu_client::Result<quipu_client::Receipt>) -> Outcome>;
type Outcome = Result<(), quipu_client::Error>;

async fn connect(plan: &Plan) -> Result<Client> {
    let url = format!("quipu://{}", plan.servers.join(","));
    let builder = Client::builder(&url).service("load").request_timeout(CREATE_WAIT);
    Ok(builder.connect().await?)
}

impl Driver for Quipu {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        Ok(Self(connect(plan).await?))
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let topic = NewTopic::new(&plan.topic).partitions(plan.partitions);
        let mut topic = NewTopic { timeout: CREATE_WAIT, ..topic.replication(plan.replicas) };
        for setting in &plan.topic_config {
            let (key, value) = setting.split_once('=').context("--topic-config is key=value")?;
            topic = topic.set(key, value);
        }
        if let Some(bytes) = plan.retention_bytes {
            topic = topic.set("retention-bytes", bytes.to_string());
        }
        self.0.admin().create_topic(topic).await?;
        Ok(())
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let client = connect(plan).await?;
        // A record alone gains nothing from waiting for company.
        let is_alone = plan.mode == Mode::OneByOne;
        let linger = if is_alone { Duration::ZERO } else { plan.linger() };
        let batches = client.producer().linger(linger).batch_bytes(plan.batch_bytes);
        // The plan's in-flight bound comes first.
        let room = plan.in_flight_max() * (plan.record_bytes + 128);
        let producer = batches.buffer_bytes(room.clamp(32 << 20, 1 << 30)).build()?;
        producer.prepare(&plan.topic).await?;
        let topic = plan.topic.as_str().into();
        Ok(Publisher { producer, topic, lanes: Lanes::new(book), _client: client })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let client = connect(plan).await?;
        let start = if share.from_start { Start::Earliest } else { Start::Latest };
        let reader = client.reader(&plan.topic).partitions(share.partitions).from(start);
        let mut reader = reader.open().await?;
        Ok(async move {
            let _client = client;
            while let Some(record) = reader.next().await {
                sink.arrived(record?.value.as_deref().unwrap_or_default());
            }
            Ok(())
        }
        .boxed_local())
    }
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        let record = NewRecord::new(self.topic.clone(), payload).partition(ticket.partition);
        let delivery = match self.producer.try_enqueue(record) {
            Ok(delivery) => delivery,
            Err(TryEnqueueError::Full(record) | TryEnqueueError::NotPrepared(record)) => {
                self.producer.enqueue(*record).await?
            }
            Err(other) => return Err(other.into()),
        };
        self.lanes.push(delivery.map(forget_receipt as fn(_) -> _), ticket);
        Ok(())
    }
}

fn forget_receipt(told: quipu_client::Result<quipu_client::Receipt>) -> Outcome {
    told.map(drop)
}
