//! Random calls, random faults, several lives of one disk: everything acknowledged is there,
//! nothing else is, and what a start has shown stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quipu_disk::{Faults, FaultyDisk};
use quipu_journal::{
    Config, FlushCallback, FlushPolicy, GroupJournal, Journal, JournalEntry, OpenError, ReadError,
};
use quipu_runtime::Rng;
use quipu_types::{LogIndex, ShardId};

use crate::model::{
    Model, ModelGroup, Record, describe, describe_records, id, matching_prefix, observe,
};
use crate::rig::{entry, for_each_seed, open_stepped, unasked};

const SEEDS: u64 = 10_000;

/// What callbacks said.
#[derive(Debug, Default)]
struct Heard {
    /// Records known to be durable.
    acknowledged: usize,
    /// Numbers of the callbacks, as they came.
    order: Vec<u64>,
    has_failed: bool,
}

struct World {
    rng: Rng,
    disk: FaultyDisk,
    config: Config,
    /// What the journal held when it was opened.
    base: Model,
    /// What was enqueued since.
    records: Vec<Record>,
    /// `base` and all records.
    now: Model,
    /// Committed ids that wait for a write.
    left: BTreeMap<ShardId, Bytes>,
    has_ops_waiting: bool,
    callbacks: u64,
    heard: Arc<Mutex<Heard>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let config = Config {
            file_bytes: [4 << 10, 8 << 10, 24 << 10][usize::try_from(rng.below(3)).expect("small")],
            recycled_files_max: usize::try_from(rng.below(3)).expect("small"),
            tail_bytes_max: [0, 2_000, 1 << 20][usize::try_from(rng.below(3)).expect("small")],
            flush: match rng.below(5) {
                0 => FlushPolicy::Interval(Duration::from_secs(3600)),
                _ => FlushPolicy::Always,
            },
        };
        Self {
            disk: FaultyDisk::new(rng.next_u64(), Faults::default()),
            rng,
            config,
            base: Model::new(),
            records: Vec::new(),
            now: Model::new(),
            left: BTreeMap::new(),
            has_ops_waiting: false,
            callbacks: 0,
            heard: Arc::default(),
        }
    }

    fn life(&mut self) {
        let journal = self.open();
        self.plan_faults();
        let calls = self.rng.below(50);
        for _ in 0..calls {
            self.call(&journal);
            if self.rng.below(3) == 0 {
                self.step(&journal);
            }
            if self.rng.below(8) == 0 {
                self.check_memory(&journal);
            }
        }
        self.end(journal);
        self.check_callbacks();
    }

    /// Opens until it works, with power cuts on the way, and checks what was recovered.
    fn open(&mut self) -> Journal {
        loop {
            if self.rng.below(3) == 0 {
                let at = 1 + self.rng.below(12);
                self.disk.set_faults(match self.rng.below(3) {
                    0 => Faults { sync_fails_at: Some(at), ..Faults::default() },
                    _ => Faults { power_cut_at: Some(at), ..Faults::default() },
                });
            }
            match open_stepped(&self.disk, self.config) {
                Ok((journal, _)) => {
                    self.disk.set_faults(Faults::default());
                    if !self.disk.is_dead() {
                        self.check_recovered(&journal);
                        return journal;
                    }
                }
                Err(OpenError::Io { .. }) => {}
                Err(error) => panic!("a crash must never look like damage: {error}"),
            }
            self.disk = if self.rng.below(3) == 0 && !self.disk.is_dead() {
                self.disk.restart()
            } else {
                self.disk.power_cut()
            };
        }
    }

    fn check_recovered(&mut self, journal: &Journal) {
        let found = observe(journal);
        let floor = self.heard.lock().expect("heard").acknowledged;
        let prefix = matching_prefix(&self.base, &self.records, floor, &found);
        assert!(
            prefix.is_some(),
            "{floor} of {} records acknowledged; found\n{}after\n{}on\n{}",
            self.records.len(),
            describe(&found),
            describe_records(&self.records),
            describe(&self.base)
        );
        self.base.clone_from(&found);
        self.now = found;
        self.records.clear();
        self.left.clear();
        self.has_ops_waiting = false;
        self.heard = Arc::default();
        self.callbacks = 0;
    }

    fn plan_faults(&mut self) {
        let at = Some(1 + self.rng.below(60));
        self.disk.set_faults(match self.rng.below(8) {
            0..4 => Faults { power_cut_at: at, ..Faults::default() },
            4 => Faults { sync_fails_at: at, ..Faults::default() },
            5 => Faults { write_fails_at: at, ..Faults::default() },
            6 => {
                let room = self.rng.below(64 << 10);
                Faults { capacity_bytes: Some((32 << 10) + room), ..Faults::default() }
            }
            _ => Faults::default(),
        });
    }

    fn call(&mut self, journal: &Journal) {
        let shard = ShardId::new(u32::try_from(self.rng.below(4)).expect("small"));
        let group = journal.group(shard);
        let known = self.now.get(&shard).cloned().unwrap_or_default();
        match self.rng.below(20) {
            0..9 => self.append(&group, &known),
            9..12 => {
                let vote = self.payload(40);
                self.record([Record::Vote(shard, vote.clone())]);
                group.save_vote(vote, self.callback(true));
            }
            12..15 => {
                let committed = self.payload(24);
                group.save_committed(committed.clone());
                self.left.insert(shard, committed);
            }
            15 => self.truncate(&group, &known),
            16..18 => self.purge(&group, &known),
            18 => {
                self.has_ops_waiting = true;
                group.barrier(self.callback(true));
            }
            _ => {
                if self.rng.below(4) == 0 {
                    self.left.remove(&shard);
                    self.record([Record::Remove(shard)]);
                    group.remove();
                }
            }
        }
    }

    /// Bytes nobody else has.
    fn payload(&mut self, bytes: u64) -> Bytes {
        let length = usize::try_from(self.rng.below(bytes)).expect("small");
        let word = self.rng.next_u64().to_le_bytes();
        word.into_iter().cycle().take(length).collect()
    }

    fn append(&mut self, group: &GroupJournal, known: &ModelGroup) {
        let last_term = known.last().map_or(1, |last| last.term.get());
        let term = last_term + u64::from(self.rng.below(6) == 0);
        let count = usize::try_from(self.rng.below(6)).expect("small");
        let entries: Vec<JournalEntry> = (known.next_index()..)
            .take(count)
            .map(|index| {
                let bytes =
                    [10, 300, 3_000, 12_000][usize::try_from(self.rng.below(4)).expect("small")];
                entry(term, index, self.payload(bytes))
            })
            .collect();
        let shard = group.shard();
        self.record(entries.iter().map(|one| Record::Entry(shard, one.id, one.payload.clone())));
        group.append(entries, self.callback(false));
    }

    fn truncate(&mut self, group: &GroupJournal, known: &ModelGroup) {
        let Some((first, _)) = known.entries.first_key_value() else { return };
        let count = u64::try_from(known.entries.len()).expect("small");
        let kept = (first + self.rng.below(count)).checked_sub(1).map(LogIndex::new);
        self.record([Record::Truncate(group.shard(), kept)]);
        group.truncate_after(kept);
    }

    fn purge(&mut self, group: &GroupJournal, known: &ModelGroup) {
        let upto = match known.entries.first_key_value() {
            Some((first, _)) if self.rng.below(8) != 0 => {
                let count = u64::try_from(known.entries.len()).expect("small");
                let index = first + self.rng.below(count);
                id(known.entries[&index].0, index)
            }
            // A snapshot beyond the log.
            _ => {
                let last = known.last().unwrap_or_else(|| id(1, 0));
                id(last.term.get(), last.index.get() + 1 + self.rng.below(20))
            }
        };
        self.record([Record::Purge(group.shard(), upto)]);
        group.purge(upto);
    }

    fn record(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            record.apply(&mut self.now);
            self.records.push(record);
        }
        self.has_ops_waiting = true;
    }

    /// A callback of what was recorded last. Under an interval, only urgent ones promise anything.
    fn callback(&mut self, is_urgent: bool) -> FlushCallback {
        let is_promise = is_urgent || self.config.flush == FlushPolicy::Always;
        let (number, records) = (self.callbacks, self.records.len());
        self.callbacks += 1;
        let heard = Arc::clone(&self.heard);
        Box::new(move |result| {
            let mut heard = heard.lock().expect("heard");
            heard.order.push(number);
            match result {
                Ok(()) => {
                    assert!(!heard.has_failed, "an acknowledgement after a failed flush");
                    if is_promise {
                        heard.acknowledged = heard.acknowledged.max(records);
                    }
                }
                Err(_) => heard.has_failed = true,
            }
        })
    }

    fn step(&mut self, journal: &Journal) {
        if self.has_ops_waiting {
            self.settle_left();
        }
        while journal.step() {}
        assert_eq!(
            u64::try_from(self.heard.lock().expect("heard").order.len()).expect("small"),
            self.callbacks,
            "every callback is called"
        );
    }

    /// Committed ids go at the end of the write they wait for.
    fn settle_left(&mut self) {
        for (shard, committed) in std::mem::take(&mut self.left) {
            self.record([Record::Committed(shard, committed)]);
        }
        self.has_ops_waiting = false;
    }

    /// Memory shows everything enqueued, durable or not.
    fn check_memory(&self, journal: &Journal) {
        for (shard, expected) in &self.now {
            let group = journal.group(*shard);
            let (Some((first, _)), Some((last, _))) =
                (expected.entries.first_key_value(), expected.entries.last_key_value())
            else {
                continue;
            };
            let read = group.read(LogIndex::new(*first), LogIndex::new(last + 1), 5_000);
            let read = match read {
                Ok(read) => read,
                Err(ReadError::Io { .. }) if self.disk.is_dead() => return,
                Err(error) => panic!("{error}"),
            };
            assert!(!read.is_empty(), "the first entry is live");
            for (found, (index, (term, payload))) in read.iter().zip(&expected.entries) {
                assert_eq!(found, &entry(*term, *index, payload.clone()));
            }
        }
    }

    /// Ends the process: cleanly, by `kill -9`, or with the power.
    fn end(&mut self, journal: Journal) {
        match self.rng.below(4) {
            0 => {
                self.settle_left();
                if journal.close().is_ok() {
                    self.heard.lock().expect("heard").acknowledged = self.records.len();
                }
                self.disk = self.disk.power_cut();
            }
            1 if !self.disk.is_dead() => {
                self.settle_left();
                self.disk = self.disk.restart();
                self.stop_listening();
            }
            _ => {
                self.settle_left();
                self.disk = self.disk.power_cut();
                self.stop_listening();
            }
        }
    }

    /// What the dead process still says, while it is torn down, concerns its own disk only.
    fn stop_listening(&mut self) {
        let heard = std::mem::take(&mut *self.heard.lock().expect("heard"));
        self.heard = Arc::new(Mutex::new(heard));
    }

    fn check_callbacks(&self) {
        let heard = self.heard.lock().expect("heard");
        assert!(heard.order.is_sorted(), "callbacks out of order: {:?}", heard.order);
    }
}

/// P1, per node: crash, power cut, failed flush, full disk, again and again, also while recovering.
#[test]
fn what_was_acknowledged_is_recovered_and_nothing_else() {
    for_each_seed(SEEDS, "what_was_acknowledged", |seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            world.life();
        }
    });
}

#[test]
fn one_seed_gives_one_disk() {
    let run = || {
        let mut world = World::new(7);
        (0..4).for_each(|_| world.life());
        (world.disk.power_cut().mutations(), world.base, world.rng.next_u64())
    };
    assert_eq!(run(), run());
}

/// A start must not trust the page cache after a failed flush (RELIABILITY §5.3).
#[test]
fn what_a_start_has_shown_survives_a_power_cut_even_after_a_failed_flush() {
    let unacknowledged = std::sync::atomic::AtomicU64::new(0);
    for_each_seed(300, "what_a_start_has_shown", |seed| {
        let disk = FaultyDisk::new(seed, Faults::default());
        let config = Config { file_bytes: 32 << 10, ..Config::default() };
        let (journal, _) = open_stepped(&disk, config).expect("open");
        disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
        let entries = (0..8).map(|index| entry(1, index, vec![9; 700])).collect();
        journal.group(ShardId::new(1)).append(entries, unasked());
        journal.step();
        let disk = disk.restart();
        let (journal, _) = open_stepped(&disk, config).expect("open after the kill");
        let shown = observe(&journal);
        if !shown.is_empty() {
            unacknowledged.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let disk = disk.power_cut();
        let (journal, _) = open_stepped(&disk, config).expect("open after the power cut");
        assert_eq!(observe(&journal), shown);
    });
    let unacknowledged = unacknowledged.into_inner();
    assert!(unacknowledged > 0, "some starts see what only the page cache holds");
}
