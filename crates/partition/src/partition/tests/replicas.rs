//! The same commands give the same answers and the same bytes on every replica, whatever happens
//! to it: power cuts, kills, other cuts into segments, snapshots. By seed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quipu_runtime::Rng;
use quipu_types::{ProducerEpoch, Sequence};

use super::*;
use crate::test_batch::for_seeds;

type Answer = Result<Appended, AppendRefused>;

#[derive(Clone, Debug)]
enum Command {
    Append { epoch: LeaderEpoch, batch: ValidatedBatch },
    Trim(Offset),
}

/// What an answer must be, worked out from everything that ever happened.
#[derive(Debug, Default)]
struct Oracle {
    high_watermark: u64,
    log_start: u64,
    history: BTreeMap<i64, Vec<Past>>,
    stored: Vec<(Offset, Bytes)>,
}

/// An accepted batch of a producer.
#[derive(Clone, Copy, Debug)]
struct Past {
    epoch: i16,
    sequence: i32,
    count: u32,
    offset: u64,
    max_timestamp: TimestampMs,
}

impl Oracle {
    fn apply(&mut self, command: &Command) -> Option<Answer> {
        match command {
            Command::Trim(to) => {
                self.log_start = self.log_start.max(to.get().min(self.high_watermark));
                None
            }
            Command::Append { epoch, batch } => Some(self.append(*epoch, batch)),
        }
    }

    fn append(&mut self, epoch: LeaderEpoch, batch: &ValidatedBatch) -> Answer {
        let header = batch.header();
        let now = Past {
            epoch: header.producer_epoch.get(),
            sequence: header.base_sequence.get(),
            count: batch.record_count(),
            offset: self.high_watermark,
            max_timestamp: header.max_timestamp,
        };
        let id = header.producer_id.get();
        if id >= 0
            && let Some(before) = self.judge(id, &now)?
        {
            return Ok(self.appended(before.offset, before.max_timestamp, true));
        }
        if id >= 0 {
            self.history.entry(id).or_default().push(now);
        }
        let base = Offset::new(self.high_watermark);
        let stored = [&batch.stamped_prefix(base, epoch)[..], &batch.bytes()[16..]].concat();
        self.stored.push((base, stored.into()));
        self.high_watermark += u64::from(now.count);
        Ok(self.appended(now.offset, now.max_timestamp, false))
    }

    fn appended(&self, base: u64, max_timestamp: TimestampMs, is_duplicate: bool) -> Appended {
        Appended {
            base_offset: Offset::new(base),
            log_start: Offset::new(self.log_start),
            high_watermark_after: Offset::new(self.high_watermark),
            is_duplicate,
            max_timestamp,
        }
    }

    fn judge(&self, id: i64, now: &Past) -> Result<Option<Past>, AppendRefused> {
        let out_of_order = |expected| AppendRefused::OutOfOrderSequence {
            expected: Sequence::new(expected),
            found: Sequence::new(now.sequence),
        };
        let Some(history) = self.history.get(&id) else {
            return if now.sequence == 0 { Ok(None) } else { Err(AppendRefused::UnknownProducer) };
        };
        let last = history.last().unwrap();
        if now.epoch < last.epoch {
            return Err(AppendRefused::ProducerFenced { current: ProducerEpoch::new(last.epoch) });
        }
        if now.epoch > last.epoch {
            return if now.sequence == 0 { Ok(None) } else { Err(out_of_order(0)) };
        }
        let life: Vec<&Past> = history.iter().filter(|past| past.epoch == now.epoch).collect();
        let same = |past: &&&Past| past.sequence == now.sequence && past.count == now.count;
        if let Some(age) = life.iter().rev().position(|past| same(&past)) {
            let before = **life.iter().rev().nth(age).unwrap();
            return if age < 5 { Ok(Some(before)) } else { Err(AppendRefused::DuplicateSequence) };
        }
        let expected = last.sequence + i32::try_from(last.count).unwrap();
        if now.sequence == expected { Ok(None) } else { Err(out_of_order(expected)) }
    }

    fn checksum(&self) -> u32 {
        let kept = self.stored.iter().filter(|(base, bytes)| {
            let header = quipu_types::record::BatchHeader::decode(bytes).unwrap();
            base.get() + u64::try_from(header.record_count).unwrap() > self.log_start
        });
        kept.fold(0, |crc, (_, bytes)| crc32c::crc32c_append(crc, bytes))
    }

    fn progress(&self) -> Progress {
        Progress::new(Offset::new(self.log_start), Offset::new(self.high_watermark))
    }
}

/// Producers that retry, lose batches, restart and come from nowhere.
struct Workload {
    rng: Rng,
    producers: Vec<Sender>,
    time: i64,
    epoch: i32,
    offsets: u64,
}

#[derive(Default)]
struct Sender {
    epoch: i16,
    sequence: i32,
    sent: VecDeque<ValidatedBatch>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let count = 1 + rng.below(4);
        let producers = (0..count).map(|_| Sender::default()).collect();
        Self { rng, producers, time: 1000, epoch: 1, offsets: 0 }
    }

    fn next(&mut self) -> Command {
        self.time += 10;
        if self.rng.below(15) == 0 {
            self.epoch += 1;
        }
        if self.rng.below(25) == 0 {
            return Command::Trim(Offset::new(self.rng.below(self.offsets + 3)));
        }
        let batch = self.next_batch();
        self.offsets += u64::from(batch.record_count());
        Command::Append { epoch: epoch(self.epoch), batch }
    }

    fn next_batch(&mut self) -> ValidatedBatch {
        let count = 1 + usize::try_from(self.rng.below(3)).unwrap();
        let bytes = usize::try_from(self.rng.below(60)).unwrap();
        let plain = batch(&vec![self.time; count], bytes);
        if self.rng.below(8) == 0 {
            return plain;
        }
        let id = self.rng.below(u64::try_from(self.producers.len()).unwrap());
        let sender = &mut self.producers[usize::try_from(id).unwrap()];
        let id = i64::try_from(id).unwrap();
        match self.rng.below(12) {
            // A retry, maybe of long ago, maybe of an earlier life.
            0..=3 if !sender.sent.is_empty() => {
                let back = self.rng.below(u64::try_from(sender.sent.len()).unwrap());
                sender.sent[usize::try_from(back).unwrap()].clone()
            }
            // A batch before it was lost.
            4 => from_producer(plain, (id, sender.epoch, sender.sequence + 3)),
            // A new life.
            5 => {
                sender.epoch += 1;
                sender.sequence = 0;
                sender.send(id, plain)
            }
            // A producer that was never here.
            6 => from_producer(plain, (1000 + id, 0, 5)),
            _ => sender.send(id, plain),
        }
    }
}

impl Sender {
    fn send(&mut self, id: i64, plain: ValidatedBatch) -> ValidatedBatch {
        let batch = from_producer(plain, (id, self.epoch, self.sequence));
        self.sequence += i32::try_from(batch.record_count()).unwrap();
        self.sent.push_back(batch.clone());
        if self.sent.len() > 9 {
            self.sent.pop_front();
        }
        batch
    }
}

/// A replica and what its owner has stored.
struct Replica {
    rng: Rng,
    disk: FaultyDisk,
    partition: Partition,
    applied: usize,
    durable: (usize, Bytes),
}

impl Replica {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed ^ 0xA11CE);
        let disk = faulty(seed);
        let env = env(&disk, 150 + rng.below(1200));
        let partition = Partition::open(&env, id(), PartitionCheckpoint::default()).unwrap();
        let durable = (0, PartitionCheckpoint::default().encode());
        Self { rng, disk, partition, applied: 0, durable }
    }

    /// Applies the next command and checks the answer against the one expected.
    fn apply(&mut self, log: &[(Command, Option<Answer>)]) -> Result<(), StorageError> {
        let (command, expected) = &log[self.applied];
        let answer = match command {
            Command::Append { epoch, batch } => Some(self.partition.apply_append(*epoch, batch)?),
            Command::Trim(to) => {
                self.partition.apply_trim(*to)?;
                None
            }
        };
        assert_eq!(answer, *expected, "command {}: {command:?}", self.applied);
        self.applied += 1;
        if self.rng.below(4) == 0 {
            self.partition.publish();
        }
        if self.rng.below(9) == 0 {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StorageError> {
        let checkpoint = self.partition.checkpoint()?;
        if self.rng.below(8) > 0 {
            self.durable = (self.applied, checkpoint.encode());
            if self.rng.below(3) > 0 {
                self.partition.checkpoint_is_durable();
            }
        }
        Ok(())
    }

    /// Plans a power cut, or none.
    fn plan(&mut self) {
        let power_cut_at = (self.rng.below(3) > 0).then(|| 1 + self.rng.below(10));
        self.disk.set_faults(Faults { power_cut_at, ..Faults::default() });
    }

    /// The process ends; the next one opens what is durable.
    fn crash(&mut self) {
        let is_power_cut = self.disk.is_dead() || self.rng.below(2) == 0;
        self.disk = if is_power_cut { self.disk.power_cut() } else { self.disk.restart() };
        let (applied, row) = &self.durable;
        let checkpoint = PartitionCheckpoint::decode(row).unwrap();
        let env = env(&self.disk, 150 + self.rng.below(1200));
        self.partition = Partition::open(&env, id(), checkpoint).unwrap();
        self.applied = *applied;
    }

    /// What must be equal everywhere.
    fn state(&mut self) -> (Progress, u32, Arc<Producers>) {
        self.partition.publish();
        let (progress, checksum) = self.partition.handle().checksum().unwrap();
        assert_eq!(progress, self.partition.progress());
        (progress, checksum, Arc::clone(&self.partition.producers))
    }

    /// Takes a snapshot of `leader`: only what is missing travels.
    fn install(&mut self, leader: &mut Self, log_len: usize) -> Result<(), StorageError> {
        leader.partition.publish();
        let state = leader.partition.checkpoint()?;
        let (mut at, handle) =
            (self.partition.progress().high_watermark(), leader.partition.handle());
        at = at.max(state.progress().log_start());
        let mut batches = Vec::new();
        while at < state.progress().high_watermark() {
            for stored in handle.read(at, 700).unwrap() {
                let batch = ValidatedBatch::parse(stored).unwrap();
                at = batch.header().base_offset.plus(batch.record_count().into());
                batches.push(Ok::<_, Infallible>(batch));
            }
        }
        let state = PartitionCheckpoint::decode(&state.encode()).unwrap();
        self.partition.install(state, &mut batches.into_iter())?;
        let row = self.partition.checkpoint()?.encode();
        self.durable = (log_len, row);
        self.applied = log_len;
        self.partition.checkpoint_is_durable();
        Ok(())
    }
}

fn run(seed: u64) {
    let (mut workload, mut oracle) = (Workload::new(seed), Oracle::default());
    let commands = 20 + workload.rng.below(40);
    let log: Vec<(Command, Option<Answer>)> = (0..commands)
        .map(|_| {
            let command = workload.next();
            let answer = oracle.apply(&command);
            (command, answer)
        })
        .collect();
    let mut replica = Replica::new(seed);
    let mut crashes = 0;
    while replica.applied < log.len() {
        if crashes < 4 {
            replica.plan();
        }
        let steps = 5 + replica.rng.below(30);
        for _ in 0..steps {
            if replica.applied == log.len() {
                break;
            }
            if replica.apply(&log).is_err() {
                assert!(replica.disk.is_dead(), "nothing else fails");
                break;
            }
        }
        if replica.disk.is_dead() || crashes < 4 {
            replica.crash();
            crashes += 1;
        }
    }
    let state = replica.state();
    assert_eq!((state.0, state.1), (oracle.progress(), oracle.checksum()));
    check_reads(&replica, &oracle);
    check_snapshot(seed, &mut replica, &log, &state);
}

fn check_reads(replica: &Replica, oracle: &Oracle) {
    let read = read_all(&replica.partition.handle());
    let skipped = oracle.stored.len() - read.len();
    for (found, (_, expected)) in read.iter().zip(&oracle.stored[skipped..]) {
        assert_eq!(found, expected);
    }
}

/// A follower that applied a part of the log, then takes a snapshot, maybe after a power cut in the
/// middle of it.
fn check_snapshot(
    seed: u64,
    leader: &mut Replica,
    log: &[(Command, Option<Answer>)],
    expected: &(Progress, u32, Arc<Producers>),
) {
    let mut follower = Replica::new(seed ^ 0xF0110);
    let part = follower.rng.below(u64::try_from(log.len()).unwrap() + 1);
    while u64::try_from(follower.applied).unwrap() < part {
        follower.apply(log).unwrap();
    }
    follower.plan();
    if follower.install(leader, log.len()).is_err() {
        assert!(follower.disk.is_dead(), "nothing else fails");
    }
    follower.crash();
    if follower.applied == log.len() {
        assert_eq!(follower.state(), *expected);
    }
    // With the journal it comes to the same.
    while follower.applied < log.len() {
        follower.apply(log).unwrap();
    }
    assert_eq!(follower.state(), *expected);
}

#[test]
fn replicas_agree_after_any_crash_and_snapshot() {
    for_seeds(10_000, run);
}
