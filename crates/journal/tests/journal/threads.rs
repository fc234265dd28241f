//! The journal with its threads, under power cuts: several callers, order per group.

use std::sync::{Arc, Mutex};

use quipu_disk::{Faults, FaultyDisk};
use quipu_journal::{Config, GroupJournal, Journal};
use quipu_runtime::Rng;
use quipu_types::{LogIndex, ShardId};

use crate::model::{Model, Record, id, matching_prefix, observe};
use crate::rig::{WAIT, awaited, dir, entry, for_each_seed, ignore, small};

/// What one group enqueued, and how much of it was acknowledged.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    acknowledged: usize,
}

fn work(group: &GroupJournal, seed: u64, told: &Arc<Mutex<Told>>) {
    let mut rng = Rng::seeded(seed);
    let (mut next, mut first, mut term) = (0, 0, 1);
    for _ in 0..60 {
        let callback = {
            let told = Arc::clone(told);
            move |records: usize| {
                Box::new(move |result: Result<(), _>| {
                    if result.is_ok() {
                        told.lock().expect("told").acknowledged = records;
                    }
                })
            }
        };
        let tell = |record: Record| {
            let mut told = told.lock().expect("told");
            told.records.push(record);
            told.records.len()
        };
        match rng.below(10) {
            0 if next > first => {
                next -= 1;
                term += 1;
                let kept = if next == 0 { None } else { Some(LogIndex::new(next - 1)) };
                tell(Record::Truncate(group.shard(), kept));
                group.truncate_after(kept);
            }
            1 if next > first + 3 => {
                first = next - 2;
                tell(Record::Purge(group.shard(), id(term, first - 1)));
                group.purge(id(term, first - 1));
            }
            2 => {
                let vote = bytes::Bytes::from(format!("vote {term} {next}"));
                let count = tell(Record::Vote(group.shard(), vote.clone()));
                group.save_vote(vote, callback(count));
            }
            _ => {
                let size = usize::try_from(rng.below(1500)).expect("small");
                let one = entry(term, next, vec![u8::try_from(next % 251).expect("small"); size]);
                let count = tell(Record::Entry(group.shard(), one.id, one.payload.clone()));
                group.append(vec![one], callback(count));
                next += 1;
            }
        }
        let read = group.read(LogIndex::new(first), LogIndex::new(next), 3_000);
        if let Ok(read) = read {
            assert_eq!(read.is_empty(), first == next);
        }
    }
    let (callback, answer) = awaited();
    group.barrier(callback);
    // Ok or not: it is answered.
    let _ = answer.recv_timeout(WAIT).expect("every callback is called");
}

#[test]
fn several_callers_keep_their_order_through_a_power_cut() {
    for_each_seed(300, "several_callers", |seed| {
        let mut rng = Rng::seeded(seed);
        let disk = FaultyDisk::new(seed, Faults::default());
        let config = Config { tail_bytes_max: 4_000, ..small() };
        let (journal, _) =
            Journal::open(Arc::new(disk.clone()), dir(), config, ignore()).expect("open");
        let at = 1 + rng.below(250);
        disk.set_faults(Faults { power_cut_at: Some(at), ..Faults::default() });
        let told: Vec<Arc<Mutex<Told>>> = (0..3).map(|_| Arc::default()).collect();
        std::thread::scope(|scope| {
            for (shard, told) in (0..).zip(&told) {
                let group = journal.group(ShardId::new(shard));
                scope.spawn(move || work(&group, seed ^ u64::from(shard) << 32, told));
            }
        });
        let disk = disk.power_cut();
        drop(journal);
        let (journal, _) =
            Journal::open(Arc::new(disk), dir(), config, ignore()).expect("open again");
        let found = observe(&journal);
        for (shard, told) in (0..).zip(&told) {
            let told = told.lock().expect("told");
            let only = |model: &Model| -> Model {
                let shard = ShardId::new(shard);
                model.get(&shard).map(|group| (shard, group.clone())).into_iter().collect()
            };
            let prefix =
                matching_prefix(&Model::new(), &told.records, told.acknowledged, &only(&found));
            assert!(prefix.is_some(), "shard {shard}: {} acknowledged", told.acknowledged);
        }
    });
}
