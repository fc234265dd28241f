//! One behaviour each.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quipu_disk::{Disk, Faults, FaultyDisk};
use quipu_journal::{Config, FlushPolicy, GroupState, Journal, dump};
use quipu_types::{LogIndex, ShardId};

use crate::model::{id, observe};
use crate::rig::{WAIT, awaited, dir, entry, ignore, open, open_stepped, reasons, small, unasked};

const A: ShardId = ShardId::new(1);
const B: ShardId = ShardId::new(2);

fn faulty() -> FaultyDisk {
    FaultyDisk::new(1, Faults::default())
}

fn files(disk: &FaultyDisk) -> usize {
    disk.read_dir(&dir()).expect("list").len()
}

/// The conformance of the real disk: threads, files, recovery.
#[test]
fn a_real_disk_gives_back_what_was_written() {
    let scratch = tempfile::tempdir().expect("scratch");
    let path = scratch.path().join("journal");
    let before = {
        let journal = open(quipu_disk::real(), &path, small());
        for shard in [A, B] {
            let group = journal.group(shard);
            for index in 0..40 {
                let bytes = usize::try_from(index * 97 % 6000).expect("small");
                group.append(vec![entry(1, index, vec![7; bytes])], unasked());
            }
            group.truncate_after(Some(LogIndex::new(30)));
            group.append(vec![entry(2, 31, "new")], unasked());
            group.purge(id(1, 11));
            group.save_committed(Bytes::from_static(b"committed"));
            let (callback, answer) = awaited();
            group.save_vote(Bytes::from_static(b"vote"), callback);
            answer.recv_timeout(WAIT).expect("answer").expect("flushed");
        }
        assert_eq!(journal.group(A).durable_index(), Some(LogIndex::new(31)));
        let before = observe(&journal);
        assert!(journal.stats().files > 5 && journal.stats().entries == 82);
        journal.close().expect("close");
        before
    };
    for _ in 0..2 {
        let journal = open(quipu_disk::real(), &path, small());
        assert_eq!(observe(&journal), before);
    }
}

#[test]
fn entries_are_readable_before_they_are_durable() {
    let (journal, _) = open_stepped(&faulty(), small()).expect("open");
    let group = journal.group(A);
    group.append(vec![entry(1, 0, "a"), entry(1, 1, "b")], unasked());
    let read = group.read(LogIndex::new(0), LogIndex::new(9), 100).expect("read");
    assert_eq!(read, [entry(1, 0, "a"), entry(1, 1, "b")]);
    assert_eq!(group.durable_index(), None);
    journal.step();
    assert_eq!(group.durable_index(), Some(LogIndex::new(1)));
}

#[test]
fn a_read_gives_one_entry_however_large_and_stops_at_its_bound() {
    let (journal, _) =
        open_stepped(&faulty(), Config { tail_bytes_max: 0, ..small() }).expect("open");
    let group = journal.group(A);
    group.append((0..10).map(|index| entry(1, index, vec![1; 1000])).collect(), unasked());
    for _ in 0..2 {
        let count = |bytes_max| {
            let read = group.read(LogIndex::new(3), LogIndex::new(10), bytes_max);
            read.expect("read").len()
        };
        assert_eq!((count(0), count(2500), count(1 << 20)), (1, 2, 7));
        assert_eq!(group.read(LogIndex::new(10), LogIndex::new(12), 100).expect("read"), []);
        // The second time from disk: memory keeps nothing that is durable.
        journal.step();
    }
}

#[test]
fn one_flush_serves_all_groups() {
    let disk = faulty();
    let (journal, _) =
        open_stepped(&disk, Config { file_bytes: 1 << 20, ..small() }).expect("open");
    while journal.step() {}
    disk.set_faults(Faults::default());
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 0..50 {
        for shard in 0..20 {
            let order = Arc::clone(&order);
            let callback = Box::new(move |result: Result<(), _>| {
                result.expect("flushed");
                order.lock().expect("order").push((index, shard));
            });
            journal.group(ShardId::new(shard)).append(vec![entry(1, index, "x")], callback);
        }
    }
    assert!(journal.step());
    assert_eq!(disk.syncs(), 1);
    let order = order.lock().expect("order");
    assert!(order.is_sorted() && order.len() == 1000);
}

#[test]
fn a_long_backlog_is_written_in_several_batches_in_order() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, Config::default()).expect("open");
    for index in 0..20 {
        journal.group(A).append(vec![entry(1, index, vec![1; 1 << 20])], unasked());
        journal.group(A).save_committed(Bytes::from(format!("committed {index}")));
    }
    let (callback, answer) = awaited();
    journal.group(B).save_vote(Bytes::from_static(b"v"), callback);
    let flushes = journal.stats().flushes;
    while journal.step() {}
    assert!(journal.stats().flushes - flushes >= 3, "20 MiB go in several writes");
    answer.recv_timeout(WAIT).expect("answer").expect("flushed");
    let (journal, _) = open_stepped(&disk.power_cut(), Config::default()).expect("open again");
    let state = journal.group(A).state();
    assert_eq!(state.last, Some(id(1, 19)));
    assert_eq!(state.committed, Some(Bytes::from_static(b"committed 19")));
    assert_eq!(journal.group(B).state().vote, Some(Bytes::from_static(b"v")));
}

#[test]
fn purged_files_are_used_again() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    // An idle group pins only the file that holds its entry.
    journal.group(B).append(vec![entry(1, 0, "idle")], unasked());
    let group = journal.group(A);
    for index in 0..2_000 {
        group.append(vec![entry(1, index, vec![1; 700])], unasked());
        if index % 10 == 9 {
            group.purge(id(1, index - 3));
        }
        while journal.step() {}
        assert!(files(&disk) <= 8, "{} files", files(&disk));
    }
    let before = observe(&journal);
    let disk = disk.power_cut();
    let (journal, report) = open_stepped(&disk, small()).expect("open again");
    assert_eq!(observe(&journal), before);
    assert!(report.files <= 3, "{report:?}");
}

#[test]
fn an_entry_larger_than_a_file_has_one_of_its_own() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    let group = journal.group(A);
    for index in 0..3 {
        group.append(vec![entry(1, index, vec![1; 50_000])], unasked());
        group.append(vec![], unasked());
    }
    while journal.step() {}
    let before = observe(&journal);
    let (journal, _) = open_stepped(&disk.power_cut(), small()).expect("open again");
    assert_eq!(observe(&journal), before);
}

#[test]
fn a_snapshot_beyond_the_log_moves_its_start() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    let group = journal.group(A);
    group.append(vec![entry(1, 0, "a"), entry(1, 1, "b")], unasked());
    group.purge(id(5, 900));
    group.append(vec![entry(6, 901, "c")], unasked());
    while journal.step() {}
    let (journal, _) = open_stepped(&disk.power_cut(), small()).expect("open again");
    let group = journal.group(A);
    let expected = GroupState {
        purged: Some(id(5, 900)),
        last: Some(id(6, 901)),
        first: Some(LogIndex::new(901)),
        ..GroupState::default()
    };
    assert_eq!(group.state(), expected);
    assert_eq!(group.entry_id(LogIndex::new(900)), Some(id(5, 900)));
    assert_eq!(group.read(LogIndex::new(1), LogIndex::new(5), 100).expect("read"), []);
}

#[test]
fn a_removed_group_is_gone_and_its_number_free() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    let old = journal.group(A);
    old.append(vec![entry(3, 0, "old")], unasked());
    old.save_committed(Bytes::from_static(b"old"));
    old.remove();
    let new = journal.group(A);
    assert_eq!(new.state(), GroupState::default());
    new.append(vec![entry(1, 0, "new")], unasked());
    let (callback, answer) = awaited();
    old.append(vec![entry(3, 1, "late")], callback);
    while journal.step() {}
    assert!(answer.recv_timeout(WAIT).expect("answer").is_err());
    let (journal, _) = open_stepped(&disk.power_cut(), small()).expect("open again");
    let read = journal.group(A).read(LogIndex::new(0), LogIndex::new(9), 100).expect("read");
    assert_eq!(read, [entry(1, 0, "new")]);
    assert_eq!(journal.group(A).state().committed, None);
}

#[test]
#[should_panic(expected = "truncate first")]
fn overwriting_without_truncation_is_a_defect() {
    let (journal, _) = open_stepped(&faulty(), small()).expect("open");
    let group = journal.group(A);
    group.append(vec![entry(1, 0, "a"), entry(1, 1, "b")], unasked());
    group.append(vec![entry(2, 1, "c")], unasked());
}

#[test]
fn a_failed_flush_fails_everything_after_it_and_is_reported_once() {
    for at in 1..6 {
        let disk = faulty();
        let (reasons, on_fatal) = reasons();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let config = Config { file_bytes: 1 << 20, ..small() };
        let (journal, _) = Journal::open_stepped(shared, dir(), config, on_fatal).expect("open");
        // The file prepared in advance is flushed too: let that be over.
        while journal.step() {}
        disk.set_faults(Faults { sync_fails_at: Some(at), ..Faults::default() });
        let group = journal.group(A);
        let mut answers = Vec::new();
        for index in 0..20 {
            let (callback, answer) = awaited();
            group.append(vec![entry(1, index, vec![1; 2000])], callback);
            journal.step();
            answers.push(answer.recv_timeout(WAIT).expect("every callback is called"));
        }
        let first = answers.iter().position(Result::is_err).expect("the flush failed");
        assert!(answers[first..].iter().all(Result::is_err), "no acknowledgement after it");
        assert_eq!(reasons.lock().expect("reasons").len(), 1);
        assert!(journal.close().is_err());
        let (journal, _) = open_stepped(&disk.power_cut(), small()).expect("open again");
        let last = journal.group(A).state().last.map_or(0, |last| last.index.get() + 1);
        assert!(last >= u64::try_from(first).expect("small"), "acknowledged entries are there");
    }
}

#[test]
fn a_full_disk_is_fatal_and_loses_nothing() {
    let disk = faulty();
    let (reasons, on_fatal) = reasons();
    disk.set_faults(Faults { capacity_bytes: Some(40 << 10), ..Faults::default() });
    let (journal, _) =
        Journal::open_stepped(Arc::new(disk.clone()), dir(), small(), on_fatal).expect("open");
    let group = journal.group(A);
    let mut acknowledged = 0;
    for index in 0..100 {
        let (callback, answer) = awaited();
        group.append(vec![entry(1, index, vec![1; 1000])], callback);
        while journal.step() {}
        match answer.recv_timeout(WAIT).expect("answer") {
            Ok(()) => acknowledged = index + 1,
            Err(_) => break,
        }
    }
    assert!((20..40).contains(&acknowledged), "{acknowledged}");
    let reason = reasons.lock().expect("reasons").concat();
    assert!(reason.contains("no storage space"), "{reason}");
    let survivor = disk.power_cut();
    survivor.set_faults(Faults::default());
    let (journal, _) = open_stepped(&survivor, small()).expect("open again");
    let last = journal.group(A).state().last.expect("entries");
    assert!(last.index.get() + 1 >= acknowledged);
}

#[test]
fn space_given_back_by_a_purge_is_used_on_a_full_disk() {
    let disk = faulty();
    disk.set_faults(Faults { capacity_bytes: Some(40 << 10), ..Faults::default() });
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    let group = journal.group(A);
    for index in 0..500 {
        let (callback, answer) = awaited();
        group.append(vec![entry(1, index, vec![1; 1000])], callback);
        if index > 5 {
            group.purge(id(1, index - 5));
        }
        while journal.step() {}
        answer.recv_timeout(WAIT).expect("answer").expect("flushed");
    }
}

#[test]
fn an_interval_answers_before_the_flush_but_votes_after_it() {
    let disk = faulty();
    let flush = FlushPolicy::Interval(Duration::from_secs(3600));
    let (journal, _) = open_stepped(&disk, Config { flush, ..small() }).expect("open");
    while journal.step() {}
    disk.set_faults(Faults::default());
    let (callback, answer) = awaited();
    journal.group(A).append(vec![entry(1, 0, "a")], callback);
    journal.step();
    answer.recv_timeout(WAIT).expect("answer").expect("written");
    assert_eq!((disk.syncs(), journal.group(A).durable_index()), (0, None));
    let (callback, answer) = awaited();
    journal.group(B).save_vote(Bytes::from_static(b"v"), callback);
    journal.step();
    answer.recv_timeout(WAIT).expect("answer").expect("flushed");
    assert_eq!((disk.syncs(), journal.group(A).durable_index()), (1, Some(LogIndex::new(0))));
    journal.group(A).append(vec![entry(1, 1, "b")], unasked());
    journal.close().expect("close");
    let (journal, _) = open_stepped(&disk.power_cut(), small()).expect("open again");
    assert_eq!(journal.group(A).state().last, Some(id(1, 1)), "closing flushes");
}

#[test]
fn an_interval_flushes_by_itself() {
    let disk = faulty();
    let flush = FlushPolicy::Interval(Duration::from_millis(5));
    let journal = open(Arc::new(disk), &dir(), Config { flush, ..small() });
    let flushes = journal.stats().flushes;
    journal.group(A).append(vec![entry(1, 0, "a")], unasked());
    let started = quipu_runtime::Clock::thread_instant();
    while journal.stats().flushes == flushes || journal.group(A).durable_index().is_none() {
        assert!(started.elapsed() < WAIT, "no flush");
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_journal_refuses() {
    let journal = open(Arc::new(faulty()), &dir(), small());
    let group = journal.group(A);
    journal.close().expect("close");
    let (callback, answer) = awaited();
    group.append(vec![entry(1, 0, "a")], callback);
    assert!(answer.recv_timeout(WAIT).expect("answer").is_err());
}

#[test]
fn memory_is_bounded_by_the_tail() {
    let config = Config { tail_bytes_max: 100_000, file_bytes: 1 << 20, ..Config::default() };
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, config).expect("open");
    let busy = journal.group(A);
    journal.group(B).append(vec![entry(1, 0, vec![2; 5_000])], unasked());
    for index in 0..500 {
        busy.append(vec![entry(1, index, vec![1; 1_000])], unasked());
        journal.step();
    }
    disk.set_faults(Faults { read_fails_at: Some(1), ..Faults::default() });
    let last = busy.read(LogIndex::new(430), LogIndex::new(500), usize::MAX);
    assert_eq!(last.expect("the newest are in memory").len(), 70);
    journal
        .group(B)
        .read(LogIndex::new(0), LogIndex::new(1), 1)
        .expect("a quiet group keeps its own");
    assert!(busy.read(LogIndex::new(0), LogIndex::new(1), 1).is_err(), "the oldest are on disk");
}

#[test]
fn a_dump_names_every_frame() {
    let disk = faulty();
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    let group = journal.group(A);
    group.append(vec![entry(4, 0, "abc")], unasked());
    group.save_vote(Bytes::from_static(b"v"), unasked());
    group.purge(id(4, 0));
    journal.close().expect("close");
    let mut text = String::new();
    dump(&disk, &dir(), &mut |line| text += &format!("{line}\n")).expect("dump");
    for expected in
        ["start", "entry     shard 1 id 4.0 3 bytes", "vote", "purge", "mark", "no frame"]
    {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let config = Config { file_bytes: 1, ..Config::default() };
    let disk: Arc<dyn Disk> = Arc::new(faulty());
    let refused = Journal::open(disk, Path::new("/j").to_owned(), config, ignore());
    let refused = refused.expect_err("too small").to_string();
    assert!(refused.contains("file-bytes is 1"), "{refused}");
}
