//! The journal: an entry alone until it is flushed, and many that share a flush.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quipu_journal::{Config, GroupJournal, Journal, JournalEntry};
use quipu_micro::{BATCH_SIZES, noise};
use quipu_types::{EntryId, LogIndex, ShardId, Term};

/// Entries that wait for the same flush.
const TOGETHER: u64 = 32;
/// Older entries are given up, so that files are used again.
const KEPT: u64 = 256;

struct Log {
    group: GroupJournal,
    next: u64,
}

impl Log {
    fn append(&mut self, payload: &Bytes, flushed: &Sender<()>) {
        let id = |index| EntryId::new(Term::new(1), LogIndex::new(index));
        let entry = JournalEntry { id: id(self.next), payload: payload.clone() };
        let flushed = flushed.clone();
        let on_flushed = Box::new(move |result: Result<(), _>| {
            result.expect("the disk works");
            flushed.send(()).expect("it is awaited");
        });
        self.group.append(vec![entry], on_flushed);
        if self.next > KEPT && self.next % KEPT == 0 {
            self.group.purge(id(self.next - KEPT));
        }
        self.next += 1;
    }
}

fn journal(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let on_fatal = Arc::new(|reason: String| panic!("{reason}"));
    let opened = Journal::open(quipu_disk::real(), dir.path().into(), Config::default(), on_fatal);
    let (journal, _) = opened.expect("an empty directory");
    let mut log = Log { group: journal.group(ShardId::new(1)), next: 1 };
    let (flushed, flushes) = channel();
    let mut group = criterion.benchmark_group("journal");
    for bytes in BATCH_SIZES {
        let payload = noise(bytes, 1);
        for together in [1, TOGETHER] {
            group.throughput(Throughput::Bytes(bytes as u64 * together));
            let name = BenchmarkId::new(format!("append and flush {together}"), bytes);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    for _ in 0..together {
                        log.append(&payload, &flushed);
                    }
                    for _ in 0..together {
                        flushes.recv().expect("it comes");
                    }
                });
            });
        }
    }
    group.finish();
    journal.close().expect("the disk works");
}

criterion_group!(benches, journal);
criterion_main!(benches);
