//! NATS JetStream: a replicated file stream per partition, ordered consumers.
//!
//! Acknowledgements are matched by hand, all on one subscription, as the Go client does for
//! asynchronous publishing: one wake-up and one timer per record would slow NATS down.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Subject};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::{Driver, Reading, Share, Sink};
use crate::book::{Book, Ticket};
use crate::plan::Plan;

const API_WAIT: Duration = Duration::from_secs(60);
const LEADER_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// Streams made at once.
const CREATED_TOGETHER: usize = 8;

/// A cluster.
#[derive(Debug)]
pub(crate) struct Nats {
    jetstream: jetstream::Context,
    /// The server the next connection goes to.
    turn: Cell<usize>,
}

/// One producer on a connection of its own.
#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    subjects: Vec<Subject>,
    inbox: String,
    waiting: Waiting,
}

type Waiting = Rc<RefCell<HashMap<u64, Ticket>>>;

/// Connections are dealt to the servers in turn; the first meets the leader of partition 0.
async fn connect(plan: &Plan, turn: &Cell<usize>) -> Result<Client> {
    let mut servers = plan.servers.clone();
    let count = servers.len();
    servers.rotate_left(turn.replace(turn.get() + 1) % count);
    let options = ConnectOptions::new().retain_servers_order().ignore_discovered_servers();
    Ok(options.request_timeout(Some(API_WAIT)).connect(servers).await?)
}

fn stream_name(plan: &Plan, partition: u32) -> String {
    format!("{}-{partition}", plan.topic)
}

fn subject(plan: &Plan, partition: u32) -> String {
    format!("{}.{partition}", plan.topic)
}

impl Driver for Nats {
    type Publisher = Publisher;

    async fn connect(plan: &Plan) -> Result<Self> {
        let turn = Cell::new(0);
        let client = connect(plan, &turn).await?;
        turn.set(0);
        let jetstream = ContextBuilder::new().timeout(API_WAIT).build(client);
        Ok(Self { jetstream, turn })
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let created = futures::stream::iter(0..plan.partitions)
            .map(|partition| self.create_stream(plan, partition))
            .buffer_unordered(CREATED_TOGETHER);
        created.try_collect::<()>().await
    }

    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Publisher> {
        let client = connect(plan, &self.turn).await?;
        let subjects = (0..plan.partitions).map(|partition| subject(plan, partition).into());
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        // The subscription must be there before the first record is.
        client.flush().await?;
        let waiting = Waiting::default();
        // It ends with the process: acknowledgements are awaited after the last record is sent.
        tokio::task::spawn_local(await_acks(answers, waiting.clone(), book));
        Ok(Publisher { client, subjects: subjects.collect(), inbox, waiting })
    }

    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading> {
        let client = connect(plan, &self.turn).await?;
        let context = ContextBuilder::new().timeout(API_WAIT).build(client.clone());
        let mut all = futures::stream::SelectAll::new();
        for partition in &share.partitions {
            let stream = context.get_stream(stream_name(plan, *partition)).await?;
            let deliver_policy =
                if share.from_start { DeliverPolicy::All } else { DeliverPolicy::New };
            let deliver_subject = client.new_inbox();
            let config =
                push::OrderedConfig { deliver_policy, deliver_subject, ..Default::default() };
            all.push(stream.create_consumer(config).await?.messages().await?);
        }
        Ok(async move {
            while let Some(message) = all.next().await {
                sink.arrived(&message?.payload);
            }
            bail!("the consumers ended")
        }
        .boxed_local())
    }
}

impl Nats {
    async fn create_stream(&self, plan: &Plan, partition: u32) -> Result<()> {
        let name = stream_name(plan, partition);
        let config = Config {
            name: name.clone(),
            subjects: vec![subject(plan, partition)],
            storage: StorageType::File,
            num_replicas: usize::try_from(plan.replicas)?,
            max_bytes: plan.retention_bytes.map_or(Ok(-1), i64::try_from)?,
            ..Config::default()
        };
        let made = self.jetstream.create_stream(config).await;
        let stream = made.with_context(|| format!("create stream {name}"))?;
        self.place_leader(&stream, partition).await
    }

    /// Gives every server its share of leaders.
    async fn place_leader(&self, stream: &Stream, partition: u32) -> Result<()> {
        let name = stream.cached_info().config.name.clone();
        let deadline = tokio::time::Instant::now() + LEADER_WAIT;
        let mut asked = None;
        loop {
            let info = stream.get_info().await?;
            let cluster = info.cluster.context("the servers form no cluster")?;
            let leader = cluster.leader.clone().unwrap_or_default();
            let mut servers: Vec<String> =
                cluster.replicas.iter().map(|replica| replica.name.clone()).collect();
            servers.push(leader.clone());
            servers.sort();
            let wanted = &servers[usize::try_from(partition)? % servers.len()];
            if *wanted == leader {
                return Ok(());
            }
            let is_late = tokio::time::Instant::now() >= deadline;
            ensure!(!is_late, "the leader of stream {name} stayed at {leader}, not {wanted}");
            if asked.as_ref() != Some(wanted) && !leader.is_empty() {
                let preferred = serde_json::json!({ "placement": { "preferred": wanted } });
                let subject = format!("STREAM.LEADER.STEPDOWN.{name}");
                let _: serde_json::Value = self.jetstream.request(subject, &preferred).await?;
                asked = Some(wanted.clone());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn await_acks(mut answers: async_nats::Subscriber, waiting: Waiting, book: Rc<Book>) {
    while let Some(answer) = answers.next().await {
        let number = answer.subject.rsplit('.').next().and_then(|word| word.parse().ok());
        let ticket = number.and_then(|number: u64| waiting.borrow_mut().remove(&number));
        let Some(ticket) = ticket else { continue };
        match refusal(&answer) {
            None => book.acked(&ticket),
            Some(why) => book.failed(&ticket, &why),
        }
    }
}

/// An acknowledgement names the stream and the sequence; a refusal has an error in their place.
fn refusal(answer: &async_nats::Message) -> Option<String> {
    if let Some(status) = answer.status {
        return Some(format!("status {status}"));
    }
    let text = &answer.payload;
    let is_refused = text.windows(8).any(|word| word == b"\"error\":");
    is_refused.then(|| String::from_utf8_lossy(text).into_owned())
}

impl super::Publisher for Publisher {
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()> {
        let subject = self.subjects[usize::try_from(ticket.partition)?].clone();
        let reply = format!("{}.{}", self.inbox, ticket.number);
        self.waiting.borrow_mut().insert(ticket.number, ticket);
        Ok(self.client.publish_with_reply(subject, reply, payload).await?)
    }
}
