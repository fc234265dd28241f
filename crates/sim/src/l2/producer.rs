//! A producer: the client's own queue decides; what its task does around that is done here.

mod answers;

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_client::sim::{Left, SendQueue};
use quipu_runtime::Rng;
use quipu_types::record::{BatchBuilder, Record, ValidatedBatch};
use quipu_types::{Effect, NodeId, PartitionId, ProducerEpoch, ProducerId, TimestampMs};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::call::Way;
use super::link::Sender;
use super::stream::{StoreTold, ToStore};
use crate::commands::pick;
use crate::l1::census::Event;

/// How often it looks at time.
const TICK: Duration = Duration::from_millis(100);
/// The longest pause between two attempts, and the shortest.
const PAUSES_MS: (u64, u64) = (500, 20);
const EVENTS_MAX: usize = 256;
const PADDINGS: [usize; 3] = [0, 40, 300];

/// A producer of records for all partitions.
pub(super) struct Producer {
    way: Way,
    number: u64,
    rng: Rng,
    parts: BTreeMap<PartitionId, Part>,
    streams: BTreeMap<NodeId, Stream>,
    streams_made: u64,
    /// The newest producer id.
    id: Option<(ProducerId, ProducerEpoch)>,
    events: mpsc::Receiver<(u64, NodeId, Option<StoreTold>)>,
    event_sender: mpsc::Sender<(u64, NodeId, Option<StoreTold>)>,
}

/// A partition it writes to.
struct Part {
    queue: SendQueue<Batch>,
    leader: Option<NodeId>,
    /// The id used last.
    spent: Option<(ProducerId, ProducerEpoch)>,
    failures: u32,
    not_before: Instant,
    order: u64,
}

#[derive(Clone)]
struct Batch {
    number: u64,
    records: u32,
    bytes: ValidatedBatch,
}

struct Stream {
    number: u64,
    requests: Sender<ToStore>,
    unanswered: BTreeMap<(PartitionId, u64), Instant>,
}

impl Producer {
    pub(super) fn new(way: Way, number: u64, rng: Rng) -> Self {
        let window = way.floor.plan.window;
        let part = || Part {
            queue: SendQueue::new(window),
            leader: None,
            spent: None,
            failures: 0,
            not_before: Instant::now(),
            order: 0,
        };
        let parts = way.floor.all_partitions().into_iter().map(|id| (id, part())).collect();
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            way,
            number,
            rng,
            parts,
            streams: BTreeMap::new(),
            streams_made: 0,
            id: None,
            events,
            event_sender,
        }
    }

    /// Works until told to stop, and until everything is settled then.
    pub(super) async fn work(mut self, stop: CancellationToken) {
        let begun = Instant::now();
        let mut next_batch = begun;
        let mut next_tick = begun;
        loop {
            let now = Instant::now();
            if now >= next_batch {
                next_batch =
                    now + Duration::from_millis(self.rng.below(self.way.floor.plan.think_ms));
                if !stop.is_cancelled() {
                    self.write(begun);
                }
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.expire(now.duration_since(begun));
                self.look_for_silent(now).await;
            }
            for partition in self.parts.keys().copied().collect::<Vec<_>>() {
                self.pump(partition).await;
            }
            if stop.is_cancelled() && self.parts.values().all(|part| part.queue.is_empty()) {
                return;
            }
            tokio::select! {
                biased;
                Some((stream, node, told)) = self.events.recv() => self.on_event(stream, node, told),
                () = tokio::time::sleep_until(next_batch.min(next_tick)) => {}
            }
        }
    }

    /// Hands a new batch to a partition's queue, if that has room.
    fn write(&mut self, begun: Instant) {
        let partitions: Vec<PartitionId> = self.parts.keys().copied().collect();
        let partition = pick(&mut self.rng, &partitions);
        let part = self.parts.get_mut(&partition).expect("one of the keys");
        if !part.queue.has_room() {
            return;
        }
        let records = 1 + u32::try_from(self.rng.below(4)).expect("few");
        part.order += 1;
        let number =
            self.way.floor.books().send(partition, (self.number, part.order), u64::from(records));
        let timestamp = TimestampMs::new(self.way.floor.now_ms());
        let mut builder = BatchBuilder::new(timestamp);
        let padding = vec![b'.'; pick(&mut self.rng, &PADDINGS)];
        for place in 0..u64::from(records) {
            let value = Some(Books::value(number, place));
            let record =
                Record { timestamp, key: Some(padding.clone().into()), value, headers: Vec::new() };
            builder.push(&record).expect("it is small");
        }
        let deadline = Instant::now().duration_since(begun) + self.way.floor.plan.delivery;
        let batch = Batch { number, records, bytes: builder.finish_plain() };
        part.queue.push(batch, records, deadline);
    }

    fn expire(&mut self, now: Duration) {
        let mut left = Vec::new();
        for part in self.parts.values_mut() {
            left.extend(part.queue.expire(now));
        }
        left.into_iter().for_each(|left| self.tell(&left, None));
    }

    /// Tells the books what a producer is told.
    fn tell(&self, left: &Left<Batch>, stored: Option<&StoreTold>) {
        let scene = &self.way.ground.scene;
        let (own, number) = (self.number, left.batch.number);
        match left.told {
            Ok(()) => {
                let result = stored.and_then(|told| told.result.as_ref().ok());
                let base = result.and_then(|told| told.base_offset).map(|base| base.get());
                scene.count(Event::Stored, format_args!("producer {own} has {number} at {base:?}"));
                if result.is_none_or(|told| told.is_duplicate) {
                    scene.count(Event::Duplicate, format_args!("batch {number} was there before"));
                }
                scene.expect(self.way.floor.books().acknowledged(number, base));
            }
            Err(Effect::None) => {
                scene.note(format_args!("producer {own} is refused {number}"));
                scene.expect(self.way.floor.books().refused(number));
            }
            Err(Effect::Unknown) => {
                scene.count(Event::InDoubt, format_args!("producer {own} gives {number} up"));
            }
        }
    }

    /// Sends what may be sent to one partition.
    async fn pump(&mut self, partition: PartitionId) {
        loop {
            let part = self.parts.get_mut(&partition).expect("one of the keys");
            if !part.queue.has_waiting() || Instant::now() < part.not_before {
                return;
            }
            if part.queue.needs_identity() {
                self.identify(partition);
            }
            let Some(leader) = self.leader(partition).await else { return };
            let Some(stream) = self.stream(leader) else {
                self.fail(partition, true);
                return;
            };
            let part = self.parts.get_mut(&partition).expect("one of the keys");
            let Some(sending) = part.queue.take_next(stream) else { return };
            let (id, epoch, sequence) = sending.stamp;
            let mut batch = sending.batch.bytes;
            batch.set_producer(id, epoch, sequence).expect("ids are not negative");
            let (number, sent) = (sending.number, sending.batch.number);
            let stream = self.streams.get_mut(&leader).expect("made above");
            stream.unanswered.insert((partition, number), Instant::now());
            let own = self.number;
            self.way.ground.scene.note(format_args!(
                "producer {own} sends {sent} as {id}/{} to node {leader}",
                sequence.get()
            ));
            stream.requests.send(ToStore { partition, number, batch });
        }
    }

    /// Goes on under the next epoch of the id.
    fn identify(&mut self, partition: PartitionId) {
        let newest = *self.id.get_or_insert_with(|| {
            let id = self.way.floor.books().next_producer_id();
            (ProducerId::new(id), ProducerEpoch::new(0))
        });
        let part = self.parts.get_mut(&partition).expect("one of the keys");
        let next = quipu_client::sim::next_identity(part.spent, Some(newest));
        let (id, epoch) = next.expect("a run is too short to use up the epochs of an id");
        let event = format_args!("producer {} is {id}/{} now", self.number, epoch.get());
        self.way.ground.scene.count(Event::Identified, event);
        part.spent = Some((id, epoch));
        part.queue.set_identity(id, epoch);
    }

    async fn leader(&mut self, partition: PartitionId) -> Option<NodeId> {
        if let Some(leader) = self.parts[&partition].leader {
            return Some(leader);
        }
        let asked = self.way.any_node(&mut self.rng);
        let leader = self.way.leader(asked, partition).await;
        if leader.is_none() {
            self.fail(partition, false);
        }
        self.parts.get_mut(&partition).expect("one of the keys").leader = leader;
        leader
    }

    /// The stream to a node, opened if there is none.
    fn stream(&mut self, node: NodeId) -> Option<u64> {
        if let Some(stream) = self.streams.get(&node) {
            return Some(stream.number);
        }
        let (requests, mut answers) = self.way.open_produce(node)?;
        self.streams_made += 1;
        let number = self.streams_made;
        let events = self.event_sender.clone();
        self.way.ground.spawn("answers", async move {
            while let Some(told) = answers.recv().await {
                if events.send((number, node, Some(told))).await.is_err() {
                    return;
                }
            }
            // A producer that is gone needs not know.
            let _ = events.send((number, node, None)).await;
        });
        self.streams.insert(node, Stream { number, requests, unanswered: BTreeMap::new() });
        Some(number)
    }

    /// An attempt failed: a pause, perhaps another leader.
    fn fail(&mut self, partition: PartitionId, leaves: bool) {
        let part = self.parts.get_mut(&partition).expect("one of the keys");
        part.failures += 1;
        let (longest, first) = PAUSES_MS;
        let pause = (first << part.failures.min(10)).min(longest);
        part.not_before = Instant::now() + Duration::from_millis(pause);
        if leaves {
            part.leader = None;
        }
    }
}
