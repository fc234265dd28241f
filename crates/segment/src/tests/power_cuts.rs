//! Power cuts and kills at any step, by seed: what a checkpoint covers is there, bit by bit, and
//! applying the rest again gives the same log.

use quipu_runtime::Rng;

use super::*;
use crate::WriteError;
use crate::test_batch::{for_seeds, random_batch};

/// A log, the disk below it, and what the owner's durable checkpoint says.
struct World {
    rng: Rng,
    disk: FaultyDisk,
    log: SegmentLog,
    model: Model,
    /// How much of the model the log was given.
    applied: usize,
    durable: (Offset, LogEnd),
    log_start: Offset,
    crashes: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let disk = faulty(seed);
        let config = random_config(&mut rng);
        let log = open(&disk, &config, 0, LogEnd::default());
        let durable = (Offset::ZERO, LogEnd::default());
        let (model, log_start) = (Model::default(), Offset::ZERO);
        Self { rng, disk, log, model, applied: 0, durable, log_start, crashes: 0 }
    }

    fn step(&mut self) -> Result<(), WriteError> {
        match self.rng.below(20) {
            0..=11 => self.append(),
            12..=14 => self.checkpoint(),
            15 => {
                let next = self.log.end().next.get();
                let to = Offset::new(self.rng.below(next + 1)).max(self.log_start);
                self.log_start = to;
                Ok(())
            }
            _ => {
                self.look();
                Ok(())
            }
        }
    }

    /// Appends the next command: an old one again after a crash, else a new one.
    fn append(&mut self) -> Result<(), WriteError> {
        if self.applied == self.model.batches.len() {
            let time = i64::try_from(self.applied).unwrap() * 40;
            let batch = random_batch(&mut self.rng, time);
            let epoch = i32::try_from(self.applied / 7).unwrap();
            self.model.push(batch, epoch);
        }
        append(&mut self.log, &self.model.batches[self.applied])?;
        self.applied += 1;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), WriteError> {
        let end = self.log.flush()?;
        self.durable = (self.log_start, end);
        if self.rng.below(2) == 0 {
            self.log.trim(self.log_start)?;
        }
        Ok(())
    }

    /// Reads something and compares.
    fn look(&mut self) {
        let next = self.log.end().next;
        if self.log_start >= next {
            return;
        }
        let from =
            Offset::new(self.log_start.get() + self.rng.below(next.get() - self.log_start.get()));
        let bytes_max = usize::try_from(self.rng.below(1500)).unwrap();
        match self.log.reader().read(from, next, bytes_max) {
            Ok(read) => {
                assert!(!read.is_empty());
                for (found, expected) in read.iter().zip(self.model.range(from, next)) {
                    assert_eq!(*found, expected.stored);
                }
            }
            Err(error) => assert!(self.disk.is_dead(), "{error}"),
        }
    }

    /// The process ends, by a kill or with the machine; the next one opens at the checkpoint.
    fn crash(&mut self) {
        let is_power_cut = self.disk.is_dead() || self.rng.below(2) == 0;
        self.disk = if is_power_cut { self.disk.power_cut() } else { self.disk.restart() };
        let (log_start, end) = self.durable;
        self.log = open(&self.disk, &random_config(&mut self.rng), log_start.get(), end);
        self.crashes += 1;
        self.log_start = log_start;
        self.applied = self.model.batches.partition_point(|batch| batch.next <= end.next);
        assert_eq!(self.log.end().next, end.next, "no shorter, no longer");
        self.check_files();
        self.check_everything();
    }

    /// Nothing wholly below the log start comes back, nothing beyond the end stays.
    fn check_files(&self) {
        let end = self.log.end();
        let mut bases: Vec<u64> = files(&self.disk)
            .iter()
            .filter_map(|name| name.strip_suffix(".log").map(|base| base.parse().unwrap()))
            .collect();
        bases.sort_unstable();
        assert!(bases.iter().all(|base| *base <= end.segment.get()));
        let nexts = bases.iter().skip(1);
        assert!(nexts.clone().all(|next| *next > self.log_start.get()), "{bases:?}");
        assert_eq!(bases.is_empty(), self.log_start >= end.next, "{bases:?} {end:?}");
    }

    fn check_everything(&self) {
        let end = self.log.end().next;
        let checksum = self.log.reader().checksum(self.log_start, end);
        assert_eq!(checksum.unwrap(), self.model.checksum(self.log_start, end));
    }

    /// Plans the next crash: at a change of the disk, or between two steps.
    fn plan(&mut self) {
        let at = 1 + self.rng.below(12);
        let power_cut_at = (self.rng.below(3) > 0).then_some(at);
        self.disk.set_faults(Faults { power_cut_at, ..Faults::default() });
    }
}

fn random_config(rng: &mut Rng) -> Config {
    config(200 + rng.below(1500), u32::try_from(rng.below(500)).unwrap())
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..3 {
        world.plan();
        let steps = 5 + world.rng.below(25);
        for _ in 0..steps {
            if world.step().is_err() {
                assert!(world.disk.is_dead(), "nothing else fails");
                break;
            }
        }
        world.crash();
    }
    while world.applied < world.model.batches.len() {
        world.append().expect("no fault is planned");
    }
    world.check_everything();
    world.checkpoint().expect("no fault is planned");
    world.check_everything();
    assert_eq!(world.crashes, 3);
}

#[test]
fn a_log_is_what_its_checkpoint_says_after_any_crash() {
    for_seeds(10_000, run);
}
