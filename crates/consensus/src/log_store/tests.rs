use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine, SnapshotMeta};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{RaftLogReader, StorageError};
use quipu_journal::{Config, Journal};
use quipu_runtime::Fatal;
use quipu_types::{EntryId, LogIndex, ShardId, Term};

use super::LogStore;
use crate::ledger::{Ledger, manifest};
use crate::machine::{Applier, Machine};
use crate::snapshot::SnapshotData;
use crate::type_config::{Command, Entry, RaftVote, TypeConfig, log_id};

/// A journal in a directory of its own.
struct Place {
    _directory: tempfile::TempDir,
    _journal: Journal,
}

fn open(directory: &std::path::Path) -> Journal {
    let config = Config { file_bytes: 1 << 20, ..Config::default() };
    let on_fatal = Arc::new(|reason: String| panic!("{reason}"));
    let opened = Journal::open(quipu_disk::real(), directory.to_owned(), config, on_fatal);
    opened.expect("a journal opens").0
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Applier, Place> for Builder {
    async fn build(&self) -> Result<(Place, LogStore, Applier), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = open(&directory.path().join("journal"));
        let group = journal.group(ShardId::new(1));
        let log = LogStore::open(group.clone()).expect("an empty group");
        let (ledger, _) = Ledger::open(directory.path().join("checkpoint"));
        let machine = Machine::open(ShardId::new(1), Box::new(ledger), Fatal::new().0);
        let applier = Applier::new(machine.expect("an empty state machine"), group);
        Ok((Place { _directory: directory, _journal: journal }, log, applier))
    }
}

/// openraft's own suite, on the real journal.
#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_holds() {
    Suite::test_all(Builder).await.expect("the suite passes");
}

fn command(term: u64, index: u64, bytes: &'static [u8]) -> Entry {
    let id = EntryId::new(Term::new(term), LogIndex::new(index));
    Entry {
        log_id: log_id(id),
        payload: openraft::EntryPayload::Normal(Command::propose(bytes, None)),
    }
}

/// What was flushed is there after the journal was opened anew, votes and committed marks too.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_back_as_it_was_flushed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shard = ShardId::new(3);
    let journal = open(directory.path());
    let mut log = LogStore::open(journal.group(shard)).expect("an empty group");
    let entries = [command(1, 0, b"a"), command(1, 1, b"b"), command(2, 2, b"c")];
    log.save_vote(&RaftVote::new_committed(2, 9)).await.expect("saved");
    log.blocking_append(entries).await.expect("flushed");
    let committed = log_id(EntryId::new(Term::new(1), LogIndex::new(1)));
    log.save_committed(Some(committed)).await.expect("noted");
    drop(log);
    journal.close().expect("closed");

    let journal = open(directory.path());
    let mut log = LogStore::open(journal.group(shard)).expect("a recovered group");
    assert_eq!(log.read_vote().await.expect("read"), Some(RaftVote::new_committed(2, 9)));
    assert_eq!(log.read_committed().await.expect("read"), Some(committed));
    let read = log.try_get_log_entries(..).await.expect("read");
    let bytes: Vec<Bytes> = read
        .iter()
        .map(|entry| {
            let payload = crate::entry::payload(&entry.payload);
            let crate::Payload::Command(bytes) = payload else { panic!("{payload:?}") };
            bytes
        })
        .collect();
    assert_eq!(bytes, ["a", "b", "c"]);
    let ids = [0, 1, 2].map(|at: usize| read[at].log_id);
    let keys = log.get_key_log_ids(ids[0]..=ids[2]).await.expect("read");
    assert_eq!(keys, [ids[1], ids[2]]);
}

/// openraft would look for entries that are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_committed_mark_never_exceeds_the_log() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = open(directory.path());
    let mut log = LogStore::open(journal.group(ShardId::new(1))).expect("an empty group");
    let beyond = log_id(EntryId::new(Term::new(1), LogIndex::new(7)));
    log.save_committed(Some(beyond)).await.expect("noted");
    assert_eq!(log.read_committed().await.expect("read"), None);
    log.blocking_append([command(1, 0, b"a")]).await.expect("flushed");
    let last = log_id(EntryId::new(Term::new(1), LogIndex::new(0)));
    assert_eq!(log.read_committed().await.expect("read"), Some(last));
}

/// The hook fires once, after the flush.
#[tokio::test(flavor = "multi_thread")]
async fn a_proposals_hook_follows_its_flush() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = open(directory.path());
    let group = journal.group(ShardId::new(1));
    let mut log = LogStore::open(group.clone()).expect("an empty group");
    let (flushed, hook) = tokio::sync::oneshot::channel();
    let own = group.clone();
    let hook_fn = Box::new(move || flushed.send(own.durable_index()).expect("awaited"));
    let mut entry = command(1, 0, b"a");
    entry.payload = openraft::EntryPayload::Normal(Command::propose(b"a", Some(hook_fn)));
    log.blocking_append([entry]).await.expect("flushed");
    assert_eq!(hook.await.expect("fired"), Some(LogIndex::new(0)));
}

/// A read is bounded by bytes but never empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_read_stops_at_its_bytes() {
    static LARGE: [u8; 600 << 10] = [7; 600 << 10];
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = open(directory.path());
    let mut log = LogStore::open(journal.group(ShardId::new(1))).expect("an empty group");
    let entries: Vec<Entry> = (0..5).map(|index| command(1, index, &LARGE)).collect();
    log.blocking_append(entries).await.expect("flushed");
    let some = log.limited_get_log_entries(0, 5).await.expect("read");
    assert!((1..=2).contains(&some.len()), "{}", some.len());
    assert_eq!(log.limited_get_log_entries(4, 5).await.expect("read").len(), 1);
    assert_eq!(log.try_get_log_entries(..).await.expect("read").len(), 5);
}

/// A log that was to be cut before the snapshot is cut on disk before it, too.
#[test]
fn a_snapshot_is_installed_after_what_the_journal_was_handed_before() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One thread: whatever was handed to it before is done when it does the next.
    let runtime = runtime.max_blocking_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let checkpoint = directory.path().join("checkpoint");
        let config = Config { file_bytes: 1 << 20, ..Config::default() };
        let on_fatal = Arc::new(|reason: String| panic!("{reason}"));
        let place = directory.path().join("journal");
        let (journal, _) = Journal::open_stepped(quipu_disk::real(), place, config, on_fatal)
            .expect("a journal opens");
        let shard = ShardId::new(1);
        let (ledger, _) = Ledger::open(checkpoint.clone());
        let machine = Machine::open(shard, Box::new(ledger), Fatal::new().0).expect("empty");
        let received = machine.receiver(manifest(0)).await.expect("a receiver");
        let mut applier = Applier::new(machine, journal.group(shard));
        let last = log_id(EntryId::new(Term::new(4), LogIndex::new(5)));
        let meta = SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() };
        let mut install =
            std::pin::pin!(applier.install_snapshot(&meta, SnapshotData::Received(received)));
        for _ in 0..3 {
            assert!(futures::poll!(&mut install).is_pending());
            tokio::task::spawn_blocking(|| ()).await.expect("it runs");
        }
        assert!(!checkpoint.exists(), "the snapshot is durable before the journal");
        while journal.step() {}
        install.await.expect("installed");
        assert!(checkpoint.exists());
    });
}

/// Or it might be given again to another candidate of the same term.
#[test]
fn a_vote_is_on_the_disk_when_it_is_answered() {
    let disk = quipu_disk::FaultyDisk::new(1, quipu_disk::Faults::default());
    let open = |disk: Arc<dyn quipu_disk::Disk>| {
        let config = Config { file_bytes: 1 << 20, ..Config::default() };
        // Without power the journal ends as it should.
        let on_fatal = Arc::new(|_reason: String| ());
        let opened = Journal::open_stepped(disk, "/journal".into(), config, on_fatal);
        let journal = opened.expect("a journal opens").0;
        let log = LogStore::open(journal.group(ShardId::new(1))).expect("a group");
        (journal, log)
    };
    let (journal, mut log) = open(Arc::new(disk.clone()));
    let vote = RaftVote::new(7, 3);
    let mut saving = Box::pin(log.save_vote(&vote));
    assert!(saving.as_mut().now_or_never().is_none(), "answered before it is flushed");
    while journal.step() {}
    saving.now_or_never().expect("answered once it is").expect("saved");
    let (_survivor, mut log) = open(Arc::new(disk.power_cut()));
    let read = log.read_vote().now_or_never().expect("it does not wait");
    assert_eq!(read.expect("read"), Some(vote));
}
