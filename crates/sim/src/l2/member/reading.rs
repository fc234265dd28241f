//! Positions looked up, records read and handled.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use quipu_broker::OperationError;
use quipu_broker::fetch::{FetchCommand, FetchError, FetchPosition, Fetched};
use quipu_client::sim::Processed;
use quipu_runtime::{Deadline, Rng};
use quipu_types::{NodeId, Offset, PartitionId, Retry};
use tokio::time::Instant;

use super::{InHand, Member, Owned, Phase};
use crate::l1::census::Event;
use crate::l2::call::{NoAnswer, Way};
use crate::l2::onlooker::look;
use crate::l2::plant::Plant;
use crate::l2::stream::Refused;

/// Records read and not handed out, at most: then no more are read.
const READ_AHEAD: usize = 20;
const FETCH_BYTES: usize = 2_000;
/// How long a fetch waits for records.
const MAX_WAIT: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(60);
/// Attempts to look positions up that one question stands for.
const ATTEMPTS: u32 = 200;

/// Positions that were looked up: per partition its stay, what was acknowledged before, and where
/// to start.
pub(super) type Looked = Vec<(PartitionId, u64, u64, u64)>;

/// What a fetch brought.
pub(super) struct Read {
    partition: PartitionId,
    generation: u64,
    node: NodeId,
    from: u64,
    result: Result<Result<Vec<Bytes>, FetchError>, NoAnswer>,
}

impl Member {
    /// Asks for the group's positions in what was taken.
    pub(super) fn look_up(&mut self, taken: Vec<PartitionId>) {
        let scene = &self.way.ground.scene;
        if scene.has(Plant::ResumesWhereItWas) {
            let is_known = |id: &PartitionId| self.remembered.contains_key(id);
            if taken.iter().all(is_known) {
                let looked = taken.iter().map(|id| {
                    let known = self.way.floor.books().acknowledged_commit(self.group.name, *id);
                    (*id, self.owned[id].generation, known, self.remembered[id])
                });
                let looked: Looked = looked.collect();
                self.looking.push(async move { looked }.boxed());
                return;
            }
        }
        let taken = taken.into_iter().map(|id| (id, self.owned[&id].generation)).collect();
        let rng = Rng::seeded(self.rng.next_u64());
        let at = self.session.coordinator;
        self.looking.push(look_up(self.way.clone(), self.group.name, taken, (at, rng)).boxed());
    }

    /// Positions were found: reading begins.
    pub(super) fn on_looked(&mut self, looked: Looked) {
        for (id, generation, known, start) in looked {
            let is_same = |owned: &&mut Owned| {
                owned.generation == generation && owned.phase == Phase::Starting
            };
            let Some(owned) = self.owned.get_mut(&id).filter(is_same) else { continue };
            owned.phase = Phase::Reading;
            owned.processed = Processed::new(start);
            owned.read_to = start;
            // Where nothing is stored it begins with the first record.
            owned.committed = Some(start);
            self.count(Event::LookedUp, format_args!("begins at {start} of {id}"));
            let begins = self.way.floor.books().begins(self.group.name, id, (known, start));
            self.way.ground.scene.expect(begins);
        }
    }

    /// Asks for more where there is room.
    pub(super) fn read_on(&mut self, now: Instant) {
        let is_due = |owned: &Owned| {
            owned.phase == Phase::Reading
                && !owned.is_reading
                && owned.read.len() < READ_AHEAD
                && now >= owned.not_before
        };
        let due: Vec<PartitionId> =
            self.owned.iter().filter(|(_, owned)| is_due(owned)).map(|(id, _)| *id).collect();
        for id in due {
            let rng = Rng::seeded(self.rng.next_u64());
            let owned = self.owned.get_mut(&id).expect("one of the keys");
            owned.is_reading = true;
            let (generation, from, leader) = (owned.generation, owned.read_to, owned.leader);
            self.reading
                .push(read(self.way.clone(), (id, generation), from, (leader, rng)).boxed());
        }
    }

    /// A fetch was answered, or not.
    pub(super) fn on_read(&mut self, read: Read) {
        let Read { partition, generation, node, from, result } = read;
        let is_same = |owned: &&mut Owned| owned.generation == generation;
        let Some(owned) = self.owned.get_mut(&partition).filter(is_same) else { return };
        owned.is_reading = false;
        owned.leader = Some(node);
        if owned.phase != Phase::Reading {
            return;
        }
        match result {
            Ok(Ok(batches)) => {
                owned.failures = 0;
                let checked = self.way.floor.books().read(partition, from, &batches);
                let next = match checked {
                    Ok(next) => next,
                    Err(what) => return self.way.ground.scene.violated(what),
                };
                owned.read.extend(from..next);
                owned.read_to = next;
                if next > from {
                    self.count(
                        Event::Fetched,
                        format_args!("reads {from} to {next} of {partition}"),
                    );
                }
            }
            Ok(Err(error)) => self.on_read_refused(partition, from, &error),
            Err(_) => self.read_failed(partition, None),
        }
    }

    fn on_read_refused(&mut self, id: PartitionId, from: u64, error: &FetchError) {
        let FetchError::OffsetOutOfRange { log_start, high_watermark, .. } = error else {
            self.note(format_args!("cannot read {id}: {error}"));
            match error.retry() {
                Retry::At(node) => self.read_failed(id, Some(node)),
                Retry::After(_) | Retry::Never => self.read_failed(id, None),
            }
            return;
        };
        let to = log_start.get();
        if from >= to {
            self.count(
                Event::AboveEnd,
                format_args!("is told that {id} ends at {high_watermark}, before {from}"),
            );
            self.way.ground.scene.violated(format!(
                "member {} has read {id} up to {from}, and a leader says that it ends at \
                 {high_watermark}",
                self.id
            ));
            return;
        }
        self.count(Event::BelowStart, format_args!("is told that {id} begins at {to}, not {from}"));
        if !self.has(Plant::SkipsInSilence) {
            let skipped = self.way.floor.books().skipped(self.group.name, id, (from, to));
            self.way.ground.scene.expect(skipped);
        }
        let Some(owned) = self.owned.get_mut(&id) else { return };
        owned.read_to = to;
    }

    fn read_failed(&mut self, id: PartitionId, leader: Option<NodeId>) {
        let Some(owned) = self.owned.get_mut(&id) else { return };
        owned.failures += 1;
        owned.leader = leader;
        let pause = if owned.failures > 2 || leader.is_none() { PAUSE } else { Duration::ZERO };
        owned.not_before = Instant::now() + pause;
    }

    /// Takes records in hand.
    pub(super) fn hand_out(&mut self, now: Instant) {
        let ids: Vec<PartitionId> = self.owned.keys().copied().collect();
        for id in ids {
            while self.in_hand.len() < self.group.concurrency {
                let owned = self.owned.get_mut(&id).expect("one of the keys");
                let Some(offset) = owned.read.pop_front() else { break };
                // What lies between is gone.
                owned.processed.skip_to(offset);
                owned.processed.hand_out(offset);
                let done_at = now + Duration::from_millis(self.rng.below(self.group.handle_ms));
                let generation = owned.generation;
                self.in_hand.push(InHand { partition: id, generation, offset, done_at });
            }
        }
    }

    /// Records that are done are acknowledged, if they are still this member's.
    pub(super) fn finish(&mut self, now: Instant) {
        let (done, open): (Vec<InHand>, Vec<InHand>) =
            self.in_hand.iter().partition(|one| one.done_at <= now);
        self.in_hand = open;
        for InHand { partition, generation, offset, .. } in done {
            let is_same = |owned: &&mut Owned| owned.generation == generation;
            let Some(owned) = self.owned.get_mut(&partition).filter(is_same) else { continue };
            owned.processed.ack(offset);
            self.way.floor.books().handled(self.group.name, partition, offset);
        }
    }
}

/// Reads on at whoever leads.
async fn read(
    way: Way,
    (partition, generation): (PartitionId, u64),
    from: u64,
    (leader, mut rng): (Option<NodeId>, Rng),
) -> Read {
    let asked = way.any_node(&mut rng);
    let node = match leader {
        Some(node) => node,
        None => way.leader(asked, partition).await.unwrap_or(asked),
    };
    let position = FetchPosition {
        topic: partition.topic,
        partition: partition.index,
        offset: Offset::new(from),
        bytes_max: FETCH_BYTES,
    };
    let fetched = way.ask(node, |broker, _| async move {
        let deadline = Deadline::after(broker.clock(), MAX_WAIT);
        let (bytes_min, bytes_max, first) = (1, FETCH_BYTES, 0);
        let positions = vec![position];
        broker.fetch(FetchCommand { positions, bytes_min, bytes_max, deadline, first }).await
    });
    let result = fetched.await.map(batches);
    Read { partition, generation, node, from, result }
}

fn batches(fetched: Fetched) -> Result<Vec<Bytes>, FetchError> {
    match fetched.partitions.into_iter().next() {
        Some(partition) => partition.result.map(|fetched| fetched.batches),
        None => Ok(Vec::new()),
    }
}

/// Finds where to start, however long it takes.
async fn look_up(
    way: Way,
    group: &'static str,
    taken: Vec<(PartitionId, u64)>,
    (mut coordinator, mut rng): (Option<NodeId>, Rng),
) -> Looked {
    let ids: Vec<PartitionId> = taken.iter().map(|(id, _)| *id).collect();
    for _ in 0..ATTEMPTS {
        let any = way.any_node(&mut rng);
        let node = coordinator.take().unwrap_or(any);
        match look(&way, node, group, &ids).await {
            Ok(Ok(found)) => {
                let all = taken.iter().zip(found);
                return all.map(|((id, stay), (_, known, at))| (*id, *stay, known, at)).collect();
            }
            Ok(Err(Refused { retry, words, .. })) => {
                way.ground.scene.note(format_args!("no positions of {group}: {words}"));
                if let Retry::At(leader) = retry {
                    coordinator = Some(leader);
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    Vec::new()
}
