//! The task that fetches: positions, leaders, streams.
//!
//! A partition is at any time in at most one unanswered request. Those that are in none are
//! gathered by leader into the next request, so that after each answer one request carries on
//! with all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, PartitionId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::output::Output;
use super::plan::Plan;
use super::{Config, OutOfRange};
use crate::client::Shared;
use crate::error::OffsetOutOfRange;
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

/// Who wants to know what servers said beside the records.
pub(crate) trait Observer: Send + Sync {
    /// The end of a partition at this moment.
    fn at_end(&self, id: PartitionId, generation: u64, high_watermark: u64);
    /// A position is not readable; reading goes on elsewhere.
    fn skipped(&self, reason: &OffsetOutOfRange);
}

pub(crate) struct Fetcher {
    client: Arc<Shared>,
    plan: Arc<Plan>,
    /// Of the plan that is followed.
    version: u64,
    config: Config,
    observer: Option<Arc<dyn Observer>>,
    begun: Instant,
    partitions: BTreeMap<PartitionId, Partition>,
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
    /// Requests by id: since when, and which partitions in which generation.
    unanswered: BTreeMap<u64, (Duration, Vec<Asked>)>,
    failures: u32,
    not_before: Duration,
}

/// A partition and the generation in which it was asked for.
type Asked = (PartitionId, u64);

impl Fetcher {
    pub(crate) fn new(client: Arc<Shared>, plan: Arc<Plan>, config: Config) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            view_changes: client.view.changes(),
            partitions: BTreeMap::new(),
            client,
            plan,
            version: 0,
            config,
            observer: None,
            begun: Instant::now(),
            nodes: HashMap::new(),
            next_generation: 0,
            next_request: 0,
            next_tick: Duration::ZERO,
            events,
            event_sender,
        }
    }

    pub(crate) fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Fetches until every partition of a fixed plan reached its end or one cannot be read.
    pub(crate) async fn run(mut self, output: Arc<Output>) {
        let end = self.fetch(&output).await;
        output.end(end);
    }

    async fn fetch(&mut self, output: &Arc<Output>) -> Result<()> {
        loop {
            self.follow();
            let now = self.begun.elapsed();
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.look_for_silent(now);
                self.give_up(now)?;
            }
            if self.plan.is_fixed() && self.partitions.values().all(Partition::is_done) {
                return Ok(());
            }
            let next = self.request(now, output)?;
            self.wait(next, output).await?;
        }
    }

    /// Takes over the plan as it is now.
    fn follow(&mut self) {
        let version = self.plan.version();
        if self.version == version {
            return;
        }
        self.version = version;
        let mut known = std::mem::take(&mut self.partitions);
        for (id, wanted) in self.plan.read() {
            let kept = known.remove(&id).filter(|it| it.generation == wanted.generation);
            self.partitions.insert(id, kept.unwrap_or_else(|| Partition::new(wanted)));
        }
    }

    async fn wait(&mut self, until: Duration, output: &Arc<Output>) -> Result<()> {
        let until = self.begun + until.min(self.next_tick);
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => return self.on_event(event, output),
            Ok(()) = self.view_changes.changed() => self.on_view(),
            () = self.plan.changed() => {}
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
        let share = self.config.buffer_bytes / self.partitions.len().max(1);
        let mut by_node: BTreeMap<NodeId, Vec<PartitionId>> = BTreeMap::new();
        let idle: Vec<PartitionId> = self
            .partitions
            .iter()
            .filter(|(_, partition)| !partition.is_asked && !partition.is_done())
            .filter(|(id, _)| self.plan.is_fixed() || output.buffered_of(**id) <= share)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            match self.leader(id, now)? {
                Ok(leader) => by_node.entry(leader).or_default().push(id),
                Err(at) => look_again = look_again.min(at),
            }
        }
        for (node, ids) in by_node {
            if let Err(at) = self.ask(node, ids, now) {
                look_again = look_again.min(at);
            }
        }
        Ok(look_again)
    }

    /// Who is asked for a partition, or when to look again.
    fn leader(&mut self, id: PartitionId, now: Duration) -> Result<Result<NodeId, Duration>> {
        let partition = self.partitions.get_mut(&id).expect("the id is one of the keys");
        let topic = partition.topic.clone();
        if now < partition.not_before {
            return Ok(Err(partition.not_before));
        }
        // It was known when reading began.
        let known = self.client.view.topic(&topic).filter(|known| known.id == id.topic);
        let Some(known) = known else {
            let text = format!("topic {topic:?} was deleted");
            let error = Error::local(ErrorCode::UnknownTopicId, text);
            if self.plan.is_fixed() {
                return Err(error);
            }
            partition.failed(now, Duration::ZERO, error);
            return Ok(Err(partition.not_before));
        };
        let index = id.index.get();
        let leader = self.config.node.or(partition.leader).or_else(|| known.leader(index));
        partition.leader = leader;
        Ok(leader.ok_or_else(|| {
            let text = format!("no leader of {topic}/{index} is known");
            let error = Error::local(ErrorCode::LeaderUnknown, text);
            partition.failed(now, Duration::ZERO, error);
            self.client.view.want_refresh();
            partition.not_before
        }))
    }

    fn ask(
        &mut self,
        to: NodeId,
        mut ids: Vec<PartitionId>,
        now: Duration,
    ) -> Result<(), Duration> {
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
        let turn = usize::try_from(self.next_request).unwrap_or(0) % ids.len();
        ids.rotate_left(turn);
        let mut asked = Vec::with_capacity(ids.len());
        let mut positions = Vec::with_capacity(ids.len());
        for id in ids {
            let partition = self.partitions.get_mut(&id).expect("the id is one of the keys");
            partition.is_asked = true;
            asked.push((id, partition.generation));
            positions.push(v1::FetchPosition {
                topic_id: id.topic.to_bytes().to_vec().into(),
                partition: id.index.get(),
                offset: partition.position,
                max_bytes: 0,
            });
        }
        let request = v1::FetchRequest {
            request_id: self.next_request,
            max_wait_ms: u32::try_from(self.config.max_wait.as_millis()).unwrap_or(u32::MAX),
            min_bytes: 1,
            max_bytes: u32::try_from(self.config.fetch_bytes).expect("validated"),
            positions,
        };
        node.unanswered.insert(self.next_request, (now, asked));
        // A dead stream takes nothing: its end, which is on its way, brings the partitions back.
        let _ = node.link.as_ref().map(|link| link.send(request));
        Ok(())
    }

    /// Ends the reader when a partition could not be read for too long.
    fn give_up(&self, now: Duration) -> Result<()> {
        for (id, partition) in &self.partitions {
            partition.check(now, self.config.give_up_after, || {
                format!("read {}/{}", partition.topic, id.index)
            })?;
        }
        Ok(())
    }

    /// The partition, if it is still read in that generation.
    fn current(&mut self, (id, generation): Asked) -> Option<&mut Partition> {
        self.partitions.get_mut(&id).filter(|partition| partition.generation == generation)
    }

    /// A partition cannot be read on: the end of a fixed plan, else of that partition.
    fn stop(&mut self, id: PartitionId, error: Error, output: &Output) -> Result<()> {
        if self.plan.is_fixed() {
            return Err(error);
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.is_parked = true;
            output.put_failure(id, error);
        }
        Ok(())
    }
}
