//! RabbitMQ quorum queues: one per partition, or one per partition and group behind an exchange
//! when several groups read.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, bail};
use bytes::Bytes;
use futures::future::Map;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    PublisherConfirm,
};

use super::{Driver, Lanes, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::Plan;

/// Records a consumer may hold without acknowledging them.
const PREFETCH: u16 = 2_000;
/// One acknowledgement covers so many.
const ACKED_TOGETHER: u64 = 100;
/// Persistent (AMQP 0.9.1, `delivery-mode`).
const ON_DISK: u8 = 2;

/// A cluster.
pub(crate) struct QuorumQueues {
    connection: Connection,
    turn: Cell<usize>,
}

/// One channel in confirm mode, on a connection of its own.
pub(crate) struct Publisher {
    plan: Plan,
    turn: Cell<usize>,
    /// None after it broke: the next record tries the next server.
    open: Option<(Connection, Channel)>,
    /// Exchange and routing key of each partition.
    routes: Vec<(String, String)>,
    properties: BasicProperties,
    lanes: Lanes<Acknowledged>,
    book: Rc<Book>,
}

type Told = lapin::Result<Confirmation>;
type Acknowledged = Map<PublisherConfirm, fn(Told) -> Result<(), String>>;

async fn connect(plan: &Plan, turn: &Cell<usize>) -> Result<Connection> {
    let server = &plan.servers[turn.replace(turn.get() + 1) % plan.servers.len()];
    let url = format!("amqp://{server}/%2f");
    Ok(Connection::connect(&url, ConnectionProperties::default()).await?)
}

fn queue(plan: &Plan, partition: u32, group: u32) -> String {
    format!("{}-{partition}-{group}", plan.topic)
}

/// One group is served by the default exchange, which knows queues by name.
fn route(plan: &Plan, partition: u32) -> (String, String) {
    match plan.groups {
        0 | 1 => (String::new(), queue(plan, partition, 0)),
        _several => (format!("{}-{partition}", plan.topic), String::new()),
    }
}

impl Driver for QuorumQueues {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        let turn = Cell::new(0);
        let connection = connect(plan, &turn).await?;
        Ok(Self { connection, turn })
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let channel = self.connection.create_channel().await?;
        for partition in 0..plan.partitions {
            let (exchange, _) = route(plan, partition);
            if !exchange.is_empty() {
                let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
                let kind = ExchangeKind::Fanout;
                let arguments = FieldTable::default();
                channel
                    .exchange_declare(exchange.as_str().into(), kind, options, arguments)
                    .await?;
            }
            for group in 0..plan.groups.max(1) {
                self.declare(&channel, plan, &queue(plan, partition, group)).await?;
                if !exchange.is_empty() {
                    let queue = queue(plan, partition, group);
                    let options = QueueBindOptions::default();
                    let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
                    let arguments = FieldTable::default();
                    channel.queue_bind(queue, exchange, "".into(), options, arguments).await?;
                }
            }
        }
        Ok(())
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let turn = Cell::new(self.turn.replace(self.turn.get() + 1));
        let open = Some(confirming(plan, &turn).await?);
        let routes = (0..plan.partitions).map(|partition| route(plan, partition)).collect();
        let properties = BasicProperties::default().with_delivery_mode(ON_DISK);
        let lanes = Lanes::new(book.clone());
        Ok(Publisher { plan: plan.clone(), turn, open, routes, properties, lanes, book })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let connection = connect(plan, &self.turn).await?;
        let mut all = futures::stream::SelectAll::new();
        for partition in &share.partitions {
            // A channel of its own: one acknowledgement then covers what came before it.
            let channel = connection.create_channel().await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let name = queue(plan, *partition, share.group);
            let options = BasicConsumeOptions::default();
            let arguments = FieldTable::default();
            let consumer =
                channel.basic_consume(name.as_str().into(), "".into(), options, arguments).await?;
            all.push(consumer.map(move |delivery| (channel.clone(), delivery)));
        }
        Ok(async move {
            let _connection = connection;
            while let Some((channel, delivery)) = all.next().await {
                let delivery = delivery?;
                sink.arrived(&delivery.data);
                if delivery.delivery_tag % ACKED_TOGETHER == 0 {
                    let options = BasicAckOptions { multiple: true };
                    channel.basic_ack(delivery.delivery_tag, options).await?;
                }
            }
            bail!("the consumers ended")
        }
        .boxed_local())
    }
}

impl QuorumQueues {
    async fn declare(&self, channel: &Channel, plan: &Plan, name: &str) -> Result<()> {
        let mut arguments = FieldTable::default();
        let mut set = |key: &str, value| {
            arguments.insert(key.into(), value);
        };
        set("x-queue-type", AMQPValue::LongString("quorum".into()));
        let replicas = i32::try_from(plan.replicas)?;
        set("x-quorum-initial-group-size", AMQPValue::LongInt(replicas));
        set("x-queue-leader-locator", AMQPValue::LongString("balanced".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await?;
        Ok(())
    }
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        if let Err(error) = self.try_send(&payload, ticket).await {
            self.open = None;
            self.book.failed(&ticket, &error.to_string());
        }
        Ok(())
    }
}

impl Publisher {
    async fn try_send(&mut self, payload: &[u8], ticket: Ticket) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(confirming(&self.plan, &self.turn).await?);
        }
        let (_, channel) = self.open.as_ref().expect("it was opened");
        let (exchange, key) = &self.routes[usize::try_from(ticket.partition)?];
        let options = BasicPublishOptions::default();
        let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
        let properties = self.properties.clone();
        let confirm = channel.basic_publish(exchange, key, options, payload, properties).await?;
        self.lanes.push(confirm.map(told as fn(_) -> _), ticket);
        Ok(())
    }
}

/// A channel that confirms.
async fn confirming(plan: &Plan, turn: &Cell<usize>) -> Result<(Connection, Channel)> {
    let connection = connect(plan, turn).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

fn told(told: Told) -> Result<(), String> {
    match told {
        Ok(Confirmation::Ack(_)) => Ok(()),
        Ok(Confirmation::Nack(_)) => Err("refused by the server".to_owned()),
        Ok(Confirmation::NotRequested) => Err("confirms are off".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
