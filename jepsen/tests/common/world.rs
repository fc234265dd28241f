//! A perfect cluster in a few lines, with clients that overlap: its histories are valid.

use std::collections::{BTreeMap, HashMap};

use quipu_jepsen::history::{
    Acks, Batch, Call, Effect, Event, Failure, Limits, Line, Membership, Outcome, Owned, Partition,
    Phase, Polled, Stamp, Start, Value,
};
use quipu_runtime::Rng;

const GROUP: &str = "readers";
const PRODUCERS: u64 = 3;
const FETCHER: u64 = 4;
const MEMBERS: [u64; 2] = [5, 6];
const WATCHER: u64 = 7;

/// A call under way, and its answer once it took effect.
struct Pending {
    id: u64,
    call: Call,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
struct Stored {
    value: Value,
    stamp: Stamp,
}

/// A cluster of one group and two partitions.
pub(crate) struct World {
    rng: Rng,
    lines: Vec<Line>,
    at: u64,
    ids: u64,
    logs: [Vec<Stored>; 2],
    pending: BTreeMap<u64, Pending>,
    sequences: HashMap<(u64, usize), i32>,
    again: HashMap<u64, Call>,
    epoch: u64,
    owner: usize,
    committed: u64,
    position: u64,
}

/// The partition of a place.
pub(crate) fn partition(place: usize) -> Partition {
    format!("t/{place}").parse().unwrap()
}

fn place_of(name: &Partition) -> usize {
    usize::from(*name == partition(1))
}

impl World {
    /// A valid history of about so many calls.
    pub(crate) fn history(seed: u64, calls: u64) -> Vec<Line> {
        let mut world = Self {
            rng: Rng::seeded(seed),
            lines: Vec::new(),
            at: 0,
            ids: 0,
            logs: [Vec::new(), Vec::new()],
            pending: BTreeMap::new(),
            sequences: HashMap::new(),
            again: HashMap::new(),
            epoch: 0,
            owner: 1,
            committed: 0,
            position: 0,
        };
        let limits = Limits {
            acked_min: 1,
            faults_min: 0,
            leader_faults_min: 0,
            window_ms: 0,
            ..Limits::default()
        };
        world.note(0, Event::Start(Start { limits, ..Start::named("world") }));
        while world.ids < calls {
            world.step();
        }
        world.end();
        world.lines
    }

    fn note(&mut self, process: u64, event: Event) {
        self.at += 1_000;
        self.lines.push(Line { at: self.at, process, node: None, event });
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    fn step(&mut self) {
        let process = 1 + self.rng.below(WATCHER);
        match self.pending.remove(&process) {
            None => self.begin(process),
            Some(mut pending) if pending.outcome.is_none() => {
                let is_append = matches!(pending.call, Call::Append { .. });
                if is_append && self.chance(12) {
                    self.unclear(process, pending);
                } else {
                    pending.outcome = Some(self.effect(&pending.call));
                    self.pending.insert(process, pending);
                }
            }
            Some(pending) if matches!(pending.call, Call::Append { .. }) && self.chance(12) => {
                self.unclear(process, pending);
            }
            Some(pending) => {
                let outcome = pending.outcome.expect("it took effect");
                if let Call::Append { producer: Some(stamp), values, partition, .. } = &pending.call
                {
                    let next = stamp.after(values.len()).sequence;
                    self.sequences.insert((stamp.id, place_of(partition)), next);
                    if self.chance(5) {
                        self.again.insert(process, pending.call.clone());
                    }
                }
                self.note(process, Event::Ok { id: pending.id, outcome });
            }
        }
    }

    /// The producer does not know whether it happened: it must send the same batch again.
    fn unclear(&mut self, process: u64, pending: Pending) {
        let error = Failure::new("TIMED_OUT", Effect::Maybe);
        self.again.insert(process, pending.call);
        self.note(process, Event::Info { id: pending.id, error });
    }

    fn begin(&mut self, process: u64) {
        let call = if process <= PRODUCERS {
            self.again.remove(&process).unwrap_or_else(|| self.append(process))
        } else if process == FETCHER {
            let place = usize::from(self.chance(2));
            let from = self.rng.below(self.logs[place].len() as u64 + 1);
            Call::Poll { by: None, reads: vec![(partition(place), from)] }
        } else if MEMBERS.contains(&process) {
            let Some(call) = self.member(process) else { return };
            call
        } else {
            self.question()
        };
        self.ids += 1;
        let id = self.ids;
        self.note(process, Event::Invoke { id, call: call.clone() });
        self.pending.insert(process, Pending { id, call, outcome: None });
    }

    fn append(&mut self, process: u64) -> Call {
        let place = usize::from(self.chance(2));
        let sequence = self.sequences.get(&(process, place)).copied().unwrap_or_default();
        let values = (0..=self.rng.below(3))
            .map(|count| Value(process + 10 * (count + 10 * (self.ids + 1)), 7))
            .collect();
        Call::Append {
            partition: partition(place),
            acks: Acks::Quorum,
            producer: Some(Stamp { id: process, epoch: 0, sequence }),
            resends: false,
            values,
        }
    }

    fn membership(&self, process: u64) -> Membership {
        let member = format!("member-{process}");
        Membership { group: GROUP.to_owned(), member, epoch: self.epoch }
    }

    fn member(&mut self, process: u64) -> Option<Call> {
        if MEMBERS[self.owner] != process || self.epoch == 0 {
            let owner = MEMBERS[self.owner];
            if !self.pending.contains_key(&owner) && (self.epoch == 0 || self.chance(4)) {
                self.hand_over(owner, process);
            }
            return None;
        }
        let by = self.membership(process);
        Some(if self.position > self.committed && self.chance(2) {
            Call::Commit { by, auto: false, offsets: vec![(partition(0), self.position)] }
        } else {
            Call::Poll { by: Some(by), reads: Vec::new() }
        })
    }

    fn hand_over(&mut self, from: u64, to: u64) {
        let partitions = vec![partition(0)];
        if self.epoch > 0 {
            let owned = Owned { by: self.membership(from), partitions: partitions.clone() };
            self.note(from, Event::Revoked(owned));
        }
        self.epoch += 1;
        self.owner = usize::from(to == MEMBERS[1]);
        self.position = self.committed;
        self.note(to, Event::Assigned(Owned { by: self.membership(to), partitions }));
    }

    fn question(&mut self) -> Call {
        let group = GROUP.to_owned();
        match self.rng.below(3) {
            0 => Call::Describe { group },
            1 => Call::FetchCommitted { group, partitions: vec![partition(0)] },
            _ => Call::ListOffsets { partition: partition(usize::from(self.chance(2))) },
        }
    }

    fn effect(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Append { partition, producer: Some(stamp), values, .. } => {
                let log = &mut self.logs[place_of(partition)];
                let known = log.iter().position(|stored| stored.stamp == *stamp);
                let offset = known.unwrap_or(log.len());
                if known.is_none() {
                    log.extend(
                        values.iter().enumerate().map(|(count, value)| Stored {
                            value: *value,
                            stamp: stamp.after(count),
                        }),
                    );
                }
                Outcome::Appended { offset: Some(offset as u64) }
            }
            Call::Poll { by: None, reads } => {
                let polled = self.read(place_of(&reads[0].0), reads[0].1, 6);
                Outcome::Polled { partitions: vec![polled] }
            }
            Call::Poll { .. } => {
                let polled = self.read(0, self.position, 4);
                self.position +=
                    polled.batches.iter().map(|batch| batch.values.len() as u64).sum::<u64>();
                Outcome::Polled { partitions: vec![polled] }
            }
            Call::Commit { offsets, .. } => {
                self.committed = offsets[0].1;
                Outcome::Committed { refused: Vec::new() }
            }
            Call::FetchCommitted { .. } => {
                let offset = (self.committed > 0).then_some(self.committed);
                Outcome::Positions { offsets: vec![(partition(0), offset)] }
            }
            Call::ListOffsets { partition } => Outcome::Offsets {
                log_start: 0,
                high_watermark: self.logs[place_of(partition)].len() as u64,
            },
            Call::Describe { .. } => {
                Outcome::Described { epoch: self.epoch, owners: Vec::new(), lag: None }
            }
            _ => unreachable!("no client of this world asks for it"),
        }
    }

    fn read(&self, place: usize, from: u64, most: usize) -> Polled {
        let log = &self.logs[place];
        let stored = log.iter().enumerate().skip(usize::try_from(from).unwrap()).take(most);
        let batches = stored.map(|(offset, stored)| Batch {
            offset: offset as u64,
            producer: Some(stored.stamp),
            values: vec![stored.value],
        });
        Polled {
            partition: partition(place),
            log_start: Some(0),
            high_watermark: Some(log.len() as u64),
            batches: batches.collect(),
        }
    }

    fn end(&mut self) {
        self.note(0, Event::Phase(Phase::Healed));
        self.note(0, Event::Phase(Phase::FinalReads));
        for place in 0..2 {
            self.ids += 1;
            let id = self.ids;
            let reads = vec![(partition(place), 0)];
            self.note(90, Event::Invoke { id, call: Call::Poll { by: None, reads } });
            let partitions = vec![self.read(place, 0, usize::MAX)];
            self.note(90, Event::Ok { id, outcome: Outcome::Polled { partitions } });
        }
        self.note(0, Event::Phase(Phase::End));
    }
}
