//! The task that fetches: positions, leaders, streams.
//!
//! A partition is at any time in at most one unanswered request. Those that are in none are
//! gathered by leader into the next request, so that after each answer one request carries on
//! with all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::output::Output;
use super::{Config, OutOfRange};
use crate::client::Shared;
use crate::cluster_view::Topic;
use crate::link::{Fetch, Link, LinkEvent, LinkId};
use crate::{Error, Result};

mod answer;
mod partition;

use partition::Partition;

const EVENTS_MAX: usize = 64;
/// Requests one node may have unanswered: more than one only after leaders moved.
const REQUESTS_MAX: usize = 4;
/// How often deadlines and silent servers are looked for.
const TICK: Duration = Duration::from_millis(200);
/// A server that is silent for longer than its wait and this may have lost its leadership
/// unnoticed.
const SILENT: Duration = Duration::from_secs(2);
/// A stream without an answer for longer than its wait and this is given up.
const STREAM_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Fetcher {
    client: Arc<Shared>,
    topic: Arc<Topic>,
    config: Config,
    begun: Instant,
    partitions: BTreeMap<u32, Partition>,
    nodes: HashMap<NodeId, Node>,
    next_generation: u64,
    next_request: u64,
    next_tick: Duration,
    events: mpsc::Receiver<LinkEvent<v1::FetchResponse>>,
    event_sender: mpsc::Sender<LinkEvent<v1::FetchResponse>>,
    view_changes: watch::Receiver<u64>,
}

/// A node and the stream to it.
#[derive(Debug, Default)]
struct Node {
    link: Option<Link<Fetch>>,
    /// Requests by id: since when, and which partitions.
    unanswered: BTreeMap<u64, (Duration, Vec<u32>)>,
    failures: u32,
    not_before: Duration,
}

impl Fetcher {
    pub(super) fn new(
        client: Arc<Shared>,
        topic: Arc<Topic>,
        bounds: &BTreeMap<u32, Bounds>,
        config: Config,
    ) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        let partition = |(index, bounds): (&u32, &Bounds)| (*index, Partition::new(*bounds));
        Self {
            view_changes: client.view.changes(),
            partitions: bounds.iter().map(partition).collect(),
            client,
            topic,
            config,
            begun: Instant::now(),
            nodes: HashMap::new(),
            next_generation: 0,
            next_request: 0,
            next_tick: Duration::ZERO,
            events,
            event_sender,
        }
    }

    /// Fetches until every partition reached its end or one cannot be read.
    pub(super) async fn run(mut self, output: Arc<Output>) {
        let end = self.fetch(&output).await;
        output.end(end);
    }

    async fn fetch(&mut self, output: &Arc<Output>) -> Result<()> {
        loop {
            let now = self.begun.elapsed();
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.look_for_silent(now);
                self.give_up(now)?;
            }
            if self.partitions.values().all(Partition::is_done) {
                return Ok(());
            }
            let next = self.request(now, output)?;
            self.wait(next, output).await?;
        }
    }

    async fn wait(&mut self, until: Duration, output: &Arc<Output>) -> Result<()> {
        let until = self.begun + until.min(self.next_tick);
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => return self.on_event(event, output),
            Ok(()) = self.view_changes.changed() => self.on_view(),
            () = output.freed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        Ok(())
    }

    /// Asks for what is not asked for yet; returns when to look again.
    fn request(&mut self, now: Duration, output: &Output) -> Result<Duration> {
        let mut look_again = self.next_tick;
        if output.buffered() >= self.config.buffer_bytes {
            return Ok(look_again);
        }
        let known = self.client.view.topic(&self.topic.name);
        // It was known when the reader was opened.
        let Some(known) = known.filter(|known| known.id == self.topic.id) else {
            let text = format!("topic {:?} was deleted", self.topic.name);
            return Err(Error::local(ErrorCode::UnknownTopicId, text));
        };
        let mut by_node: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        let idle: Vec<u32> = self
            .partitions
            .iter()
            .filter(|(_, partition)| !partition.is_asked && !partition.is_done())
            .map(|(index, _)| *index)
            .collect();
        for index in idle {
            match self.leader(&known, index, now) {
                Ok(leader) => by_node.entry(leader).or_default().push(index),
                Err(at) => look_again = look_again.min(at),
            }
        }
        for (node, indexes) in by_node {
            if let Err(at) = self.ask(node, indexes, now) {
                look_again = look_again.min(at);
            }
        }
        Ok(look_again)
    }

    /// Who is asked for a partition, or when to look again.
    fn leader(&mut self, known: &Topic, index: u32, now: Duration) -> Result<NodeId, Duration> {
        let partition = self.partitions.get_mut(&index).expect("the index is one of the keys");
        if now < partition.not_before {
            return Err(partition.not_before);
        }
        let leader = self.config.node.or(partition.leader).or_else(|| known.leader(index));
        partition.leader = leader;
        leader.ok_or_else(|| {
            let text = format!("no leader of {}/{index} is known", self.topic.name);
            let error = Error::local(ErrorCode::LeaderUnknown, text);
            partition.failed(now, Duration::ZERO, error);
            self.client.view.want_refresh();
            partition.not_before
        })
    }

    fn ask(&mut self, to: NodeId, mut indexes: Vec<u32>, now: Duration) -> Result<(), Duration> {
        let node = self.nodes.entry(to).or_default();
        if node.link.is_none() {
            if now < node.not_before {
                return Err(node.not_before);
            }
            self.next_generation += 1;
            let id = LinkId { node: to, generation: self.next_generation };
            let events = self.event_sender.clone();
            node.link = Some(Link::open(self.client.clone(), id, events));
        }
        if node.unanswered.len() >= REQUESTS_MAX {
            return Ok(());
        }
        self.next_request += 1;
        // Servers fill answers from the front: each partition gets its turn there.
        let turn = usize::try_from(self.next_request).unwrap_or(0) % indexes.len();
        indexes.rotate_left(turn);
        let positions = indexes.iter().map(|index| {
            let partition = self.partitions.get_mut(index).expect("the index is one of the keys");
            partition.is_asked = true;
            v1::FetchPosition {
                topic_id: self.topic.id.to_bytes().to_vec().into(),
                partition: *index,
                offset: partition.position,
                max_bytes: 0,
            }
        });
        let request = v1::FetchRequest {
            request_id: self.next_request,
            max_wait_ms: u32::try_from(self.config.max_wait.as_millis()).unwrap_or(u32::MAX),
            min_bytes: 1,
            max_bytes: u32::try_from(self.config.fetch_bytes).expect("validated"),
            positions: positions.collect(),
        };
        node.unanswered.insert(self.next_request, (now, indexes));
        // A dead stream takes nothing: its end, which is on its way, brings the partitions back.
        let _ = node.link.as_ref().map(|link| link.send(request));
        Ok(())
    }

    /// Ends the reader when a partition could not be read for too long.
    fn give_up(&self, now: Duration) -> Result<()> {
        for (index, partition) in &self.partitions {
            partition.check(now, self.config.give_up_after, || {
                format!("read {}/{index}", self.topic.name)
            })?;
        }
        Ok(())
    }
}
