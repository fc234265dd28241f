//! The task that owns everything between a producer's buffers and the servers.
//!
//! One turn of its loop: look at buffers that were announced, let each partition that may have
//! something to do take its steps, hand what they produced to the streams (all partitions of a
//! node in one request), wait for the next event. Nothing in a turn waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, TopicId};
use tokio::sync::{mpsc, watch};

use super::buffer::Waiting;
use super::builder::Config;
use super::inbox::Inbox;
use crate::Error;
use crate::client::Shared;
use crate::link::{LinkEvent, LinkId};
use crate::tasks::spawn_detached;

mod answer;
mod attempts;
mod failing;
mod identity;
mod node;
mod partition;

use failing::with_effect;
use identity::Identities;
#[cfg(feature = "sim")]
pub(crate) use identity::next as next_identity;
use node::{Node, Pending};
use partition::{Batch, Partition};

/// Events of all streams that the sender has not taken yet.
const EVENTS_MAX: usize = 256;
/// How often deadlines and silent servers are looked for.
const TICK: Duration = Duration::from_millis(100);
/// A server this silent may have lost its leadership unnoticed: somebody else is asked.
const SILENT: Duration = Duration::from_secs(2);
/// How long a server may take for one request; another attempt follows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A stream that is silent for so much longer than an answer may take is given up.
const GRACE: Duration = Duration::from_secs(15);

/// A partition of a topic's one life.
type Key = (TopicId, u32);

/// Starts the task. It ends once the inbox is closed and everything is settled.
pub(super) fn start(client: Arc<Shared>, config: Config, inbox: Arc<Inbox>) {
    spawn_detached(Sender::new(client, config, inbox).run());
}

struct Sender {
    client: Arc<Shared>,
    config: Config,
    inbox: Arc<Inbox>,
    partitions: HashMap<Key, Partition>,
    nodes: HashMap<NodeId, Node>,
    identities: Identities,
    /// Partitions that may have something to do.
    ready: VecDeque<Key>,
    timers: BinaryHeap<Reverse<(Duration, Key)>>,
    next_tick: Duration,
    next_generation: u64,
    next_request: u64,
    flushed_below: u64,
    events: mpsc::Receiver<LinkEvent<v1::ProduceResponse>>,
    event_sender: mpsc::Sender<LinkEvent<v1::ProduceResponse>>,
    view_changes: watch::Receiver<u64>,
}

/// What a partition's step came to.
enum Step {
    /// There may be more to do at once.
    Again,
    /// An event will make it ready.
    Wait,
    /// Time will make it ready.
    At(Duration),
}

impl Sender {
    fn new(client: Arc<Shared>, config: Config, inbox: Arc<Inbox>) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            view_changes: client.view.changes(),
            client,
            config,
            inbox,
            partitions: HashMap::new(),
            nodes: HashMap::new(),
            identities: Identities::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            next_tick: Duration::ZERO,
            next_generation: 0,
            next_request: 0,
            flushed_below: 0,
            events,
            event_sender,
        }
    }

    async fn run(mut self) {
        loop {
            self.look_at_buffers();
            self.look_at_time();
            if let Some(deadline) = self.inbox.given_up() {
                self.give_up(deadline);
            }
            while let Some(key) = self.ready.pop_front() {
                self.pump(key);
            }
            self.send_pending();
            if self.inbox.is_closed() && self.inbox.is_settled() {
                return;
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let now = self.inbox.now();
        let tick = if self.inbox.is_settled() { now + SILENT } else { self.next_tick };
        let timer = self.timers.peek().map_or(tick, |Reverse((at, _))| (*at).min(tick));
        let inbox = self.inbox.clone();
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.on_event(event),
            Some(told) = self.identities.told() => self.on_identity(told),
            Ok(()) = self.view_changes.changed() => self.on_view(),
            () = inbox.woken() => {}
            () = tokio::time::sleep_until(self.inbox.instant(timer)) => {}
        }
        // What else is there already makes the next requests larger.
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event);
        }
    }

    fn look_at_buffers(&mut self) {
        for buffer in self.inbox.take_announced() {
            let key = (buffer.topic.id, buffer.partition);
            let config = &self.config;
            self.partitions.entry(key).or_insert_with(|| Partition::new(buffer, config));
            self.ready.push_back(key);
        }
        let flush_below = self.inbox.flush_below();
        if flush_below > self.flushed_below || self.inbox.is_closed() {
            self.flushed_below = flush_below;
            self.ready.extend(self.partitions.keys());
        }
    }

    fn look_at_time(&mut self) {
        let now = self.inbox.now();
        while let Some(Reverse((at, key))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.ready.push_back(key);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.expire_all(now);
            self.look_for_silent(now);
        }
    }

    /// Lets one partition do all it can now.
    fn pump(&mut self, key: Key) {
        let now = self.inbox.now();
        loop {
            match self.step(key, now) {
                Step::Again => {}
                Step::Wait => return,
                Step::At(at) => {
                    self.timers.push(Reverse((at, key)));
                    return;
                }
            }
        }
    }

    /// Takes the next batch of a partition, or sends it.
    fn step(&mut self, key: Key, now: Duration) -> Step {
        let Some(partition) = self.partitions.get_mut(&key) else { return Step::Wait };
        if !partition.queue.has_waiting() {
            return self.take_batch(key, now);
        }
        if now < partition.attempts.not_before {
            return Step::At(partition.attempts.not_before);
        }
        if partition.queue.needs_identity() && !self.identify(key, now) {
            return Step::Wait;
        }
        let leader = match self.leader(key, now) {
            Ok(leader) => leader,
            Err(step) => return step,
        };
        match self.route(leader, key, now) {
            Ok(route) => self.send(key, route),
            Err(step) => step,
        }
    }

    /// Moves the next batch from the buffer into the queue, if it is its time.
    fn take_batch(&mut self, key: Key, now: Duration) -> Step {
        let Some(partition) = self.partitions.get_mut(&key) else { return Step::Wait };
        if !partition.queue.has_room() {
            return Step::Wait;
        }
        match partition.buffer.waiting() {
            Waiting::Nothing => return Step::Wait,
            Waiting::Sealed => {}
            Waiting::Open { id, opened_at } => {
                let due = opened_at + self.config.linger;
                let is_flushed = id < self.inbox.flush_below() || self.inbox.is_closed();
                if now < due && !is_flushed {
                    return Step::At(due);
                }
                // What would only wait at the server may as well fill here: with many partitions
                // that makes a few large batches of many small ones.
                let leader = partition.leader.and_then(|leader| self.nodes.get_mut(&leader));
                if let Some(node) = leader.filter(|node| !is_flushed && node.is_busy()) {
                    node.stalled.push(key);
                    return Step::Wait;
                }
            }
        }
        let Some(open) = partition.buffer.take() else { return Step::Wait };
        partition.buffer.topic.batch_leaves(partition.buffer.partition);
        match Batch::finish(open, self.config.compression) {
            Ok(batch) => {
                let deadline = batch.opened_at + self.config.delivery_timeout;
                let records = batch.records();
                partition.queue.push(batch, records, deadline);
            }
            Err(failed) => {
                let (batch, error) = *failed;
                batch.settle(&self.inbox, &partition.buffer, Err(error));
            }
        }
        Step::Again
    }

    /// The node to send to.
    fn leader(&mut self, key: Key, now: Duration) -> Result<NodeId, Step> {
        let Some(partition) = self.partitions.get_mut(&key) else { return Err(Step::Wait) };
        if let Some(leader) = partition.leader {
            return Ok(leader);
        }
        let name = &partition.buffer.topic.name;
        // It was known when the record was enqueued.
        let Some(known) = self.client.view.topic(name).filter(|topic| topic.id == key.0) else {
            let text = format!("topic {name:?} was deleted");
            let error = Error::local(ErrorCode::UnknownTopicId, text);
            self.refuse_all(key, |effect| with_effect(error.clone(), effect));
            return Err(Step::Wait);
        };
        let leader = known.leader(key.1);
        if leader.is_none() {
            let text = format!("no leader of {name}/{} is known", key.1);
            let error = Error::local(ErrorCode::LeaderUnknown, text);
            partition.failed(now, Duration::ZERO, error);
            self.client.view.want_refresh();
            return Err(Step::At(partition.attempts.not_before));
        }
        partition.leader = leader;
        leader.ok_or(Step::Wait)
    }

    /// The stream to a node, opened if there is none.
    fn route(&mut self, leader: NodeId, key: Key, now: Duration) -> Result<LinkId, Step> {
        let node = self.nodes.entry(leader).or_default();
        if let Some(route) = node.route() {
            if node.has_room() {
                return Ok(route);
            }
            node.stalled.push(key);
            return Err(Step::Wait);
        }
        if now < node.not_before {
            return Err(Step::At(node.not_before));
        }
        self.next_generation += 1;
        let id = LinkId { node: leader, generation: self.next_generation };
        node.open(self.client.clone(), id, self.event_sender.clone());
        Ok(id)
    }

    fn send(&mut self, key: Key, route: LinkId) -> Step {
        let Some(partition) = self.partitions.get_mut(&key) else { return Step::Wait };
        let Some((number, records)) = partition.take_next(route) else { return Step::Wait };
        let node = self.nodes.get_mut(&route.node).expect("it has a route");
        let batch = v1::ProduceBatch {
            topic_id: key.0.to_bytes().to_vec().into(),
            partition: key.1,
            records,
        };
        node.pending.push(Pending { key, number, batch });
        Step::Again
    }

    fn send_pending(&mut self) {
        let now = self.inbox.now();
        let acks = match self.config.acks {
            quipu_types::Acks::None => v1::Acks::None,
            quipu_types::Acks::Leader => v1::Acks::Leader,
            quipu_types::Acks::Quorum => v1::Acks::Quorum,
        };
        let timeout = self.request_timeout();
        for node in self.nodes.values_mut() {
            node.send_pending(now, |batches| {
                self.next_request += 1;
                v1::ProduceRequest {
                    request_id: self.next_request,
                    acks: acks.into(),
                    timeout_ms: u32::try_from(timeout.as_millis()).expect("at most 15 s"),
                    batches,
                }
            });
        }
    }

    /// How long a server may take for one request.
    fn request_timeout(&self) -> Duration {
        REQUEST_TIMEOUT.min(self.config.delivery_timeout)
    }

    /// Leaders may have changed: whoever waits for another one looks at once.
    fn on_view(&mut self) {
        for (key, partition) in &mut self.partitions {
            if partition.leader.is_some() || !partition.queue.has_waiting() {
                continue;
            }
            let known = self.client.view.topic(&partition.buffer.topic.name);
            let leader = known.and_then(|topic| topic.leader(key.1));
            if leader.is_some() && leader != partition.left {
                partition.attempts.not_before = partition.attempts.not_before.min(self.inbox.now());
                self.ready.push_back(*key);
            }
        }
    }
}
