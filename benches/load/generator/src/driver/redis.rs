//! Redis streams: one key per partition on one server with `appendfsync always`. Replicas follow
//! behind its back: a floor for what a protocol costs, not a peer in durability.

use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Value};

use super::{Driver, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::Plan;

const FIELD: &str = "d";
const READ_TOGETHER: usize = 500;
const READ_WAIT_MS: usize = 1_000;
const TRIMMED_TO_RECORDS: u64 = 1;

/// A server.
pub(crate) struct Redis(MultiplexedConnection);

/// One connection.
pub(crate) struct Publisher {
    connection: MultiplexedConnection,
    keys: Vec<String>,
    /// Records a key keeps.
    kept: Option<u64>,
    book: Rc<Book>,
}

async fn connect(plan: &Plan) -> Result<MultiplexedConnection> {
    let server = plan.servers.first().context("a server")?;
    let client = Client::open(format!("redis://{server}/"))?;
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_pipeline_buffer_size(plan.in_flight_max().min(65_536));
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

fn key(plan: &Plan, partition: u32) -> String {
    format!("{}:{partition}", plan.topic)
}

impl Driver for Redis {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        Ok(Self(connect(plan).await?))
    }

    /// The first record makes a stream.
    async fn create(&self, _plan: &Plan) -> Result<()> {
        let mut connection = self.0.clone();
        Ok(redis::cmd("PING").exec_async(&mut connection).await?)
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let keys = (0..plan.partitions).map(|partition| key(plan, partition)).collect();
        let bytes = u64::try_from(plan.record_bytes)?;
        let kept = plan.retention_bytes.map(|all| (all / bytes).max(TRIMMED_TO_RECORDS));
        Ok(Publisher { connection: connect(plan).await?, keys, kept, book })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let mut connection = connect(plan).await?;
        let keys: Vec<String> =
            share.partitions.iter().map(|partition| key(plan, *partition)).collect();
        let mut positions = vec!["0-0".to_owned(); keys.len()];
        let options = StreamReadOptions::default().count(READ_TOGETHER).block(READ_WAIT_MS);
        Ok(async move {
            loop {
                let read: Option<StreamReadReply> =
                    connection.xread_options(&keys, &positions, &options).await?;
                for stream in read.into_iter().flat_map(|reply| reply.keys) {
                    let place = keys.iter().position(|key| *key == stream.key);
                    let place = place.context("a key that was not asked for")?;
                    for entry in stream.ids {
                        if let Some(Value::BulkString(value)) = entry.map.get(FIELD) {
                            sink.arrived(value);
                        }
                        positions[place] = entry.id;
                    }
                }
            }
        }
        .boxed_local())
    }
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        let mut command = redis::cmd("XADD");
        command.arg(&self.keys[usize::try_from(ticket.partition)?]);
        if let Some(kept) = self.kept {
            command.arg("MAXLEN").arg("~").arg(kept);
        }
        command.arg("*").arg(FIELD).arg(payload.as_ref());
        let (mut connection, book) = (self.connection.clone(), self.book.clone());
        // Tasks begin in the order in which they are made: so records keep theirs.
        tokio::task::spawn_local(async move {
            match connection.send_packed_command(&command).await {
                Ok(_) => book.acked(&ticket),
                Err(error) => book.failed(&ticket, &error.to_string()),
            }
        });
        Ok(())
    }
}
