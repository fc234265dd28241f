//! RabbitMQ streams: one per partition. They are never flushed.

use std::rc::Rc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rabbitmq_stream_client::types::{ByteCapacity, Message, OffsetSpecification};
use rabbitmq_stream_client::{Environment, NoDedup, Producer};
use tokio::sync::mpsc;

use super::{Driver, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::Plan;

/// A cluster.
pub(crate) struct Streams(Environment);

/// A producer for each stream, all of one environment.
pub(crate) struct Publisher {
    producers: Vec<Producer<NoDedup>>,
    told: mpsc::UnboundedSender<(Ticket, Option<String>)>,
}

async fn connect(plan: &Plan) -> Result<Environment> {
    let server = plan.servers.first().context("a server")?;
    let (host, port) = server.rsplit_once(':').context("servers are host:port")?;
    Ok(Environment::builder().host(host).port(port.parse()?).build().await?)
}

fn stream(plan: &Plan, partition: u32) -> String {
    format!("{}-{partition}", plan.topic)
}

impl Driver for Streams {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        Ok(Self(connect(plan).await?))
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        for partition in 0..plan.partitions {
            let mut creator = self.0.stream_creator();
            if let Some(bytes) = plan.retention_bytes {
                creator = creator
                    .max_length(ByteCapacity::B(bytes))
                    .max_segment_size(ByteCapacity::B(bytes / 2));
            }
            creator.create(&stream(plan, partition)).await?;
        }
        Ok(())
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let environment = connect(plan).await?;
        let mut producers = Vec::new();
        for partition in 0..plan.partitions {
            let records = (plan.batch_bytes / plan.record_bytes).max(1);
            let builder = environment.producer().batch_size(records);
            producers.push(builder.build(&stream(plan, partition)).await?);
        }
        // Confirms come on the client's own tasks; the book belongs to this thread's.
        let (told, mut waiting) = mpsc::unbounded_channel::<(Ticket, Option<String>)>();
        tokio::task::spawn_local(async move {
            while let Some((ticket, refusal)) = waiting.recv().await {
                match refusal {
                    None => book.acked(&ticket),
                    Some(why) => book.failed(&ticket, &why),
                }
            }
        });
        Ok(Publisher { producers, told })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let environment = connect(plan).await?;
        let mut all = futures::stream::SelectAll::new();
        for partition in &share.partitions {
            // A fresh stream has nothing before the first record.
            let builder = environment.consumer().offset(OffsetSpecification::First);
            all.push(builder.build(&stream(plan, *partition)).await?);
        }
        Ok(async move {
            let _environment = environment;
            while let Some(delivery) = all.next().await {
                sink.arrived(delivery?.message().data().unwrap_or_default());
            }
            bail!("the consumers ended")
        }
        .boxed_local())
    }
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        let producer = &self.producers[usize::try_from(ticket.partition)?];
        let message = Message::builder().body(payload).build();
        let told = self.told.clone();
        let sent = producer.send(message, move |status| {
            let refusal = match status {
                Ok(status) if status.confirmed() => None,
                Ok(status) => Some(format!("{:?}", status.status())),
                Err(error) => Some(error.to_string()),
            };
            // The receiver ends with the process.
            drop(told.send((ticket, refusal)));
            std::future::ready(())
        });
        Ok(sent.await?)
    }
}
