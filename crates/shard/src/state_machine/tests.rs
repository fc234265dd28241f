//! The state machine on a real disk, driven as consensus drives it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use quipu_consensus::SnapshotCursor;
use quipu_disk::{DirEntry, Disk, DiskFile, Faults, FaultyDisk, LockGuard, OpenMode, Space};
use quipu_partition::AppendRefused;
use quipu_runtime::Rng;
use quipu_types::{LogIndex, Offset, Progress, Term};

use super::*;
use crate::test_batch::{batch, batch_of, partition};

mod moves;

const SHARD: ShardId = ShardId::new(3);

/// A replica's state machine and the entries it applied.
struct Replica {
    dir: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    machine: Option<ShardStateMachine>,
    applied: u64,
}

/// What two replicas that applied the same entries must agree on.
type View = BTreeMap<PartitionId, (Progress, u32, i32, Tenure)>;

impl Replica {
    fn new() -> Self {
        Self::on(quipu_disk::real())
    }

    /// A replica whose partitions lie on `disk`; its table is always on the machine's own.
    fn on(disk: Arc<dyn Disk>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut own = Self { dir, disk, machine: None, applied: 0 };
        own.start();
        own
    }

    /// Opens the state as of the last checkpoint.
    fn start(&mut self) {
        let machine = ShardStateMachine::open(env(self.dir.path(), &self.disk), SHARD).unwrap();
        self.applied = machine.applied_state().applied.map_or(0, |id| id.index.get());
        self.machine = Some(machine);
    }

    /// A crash of the process: what the page cache has stays, what memory has does not.
    fn restart(&mut self) {
        self.machine = None;
        self.start();
    }

    fn machine(&mut self) -> &mut ShardStateMachine {
        self.machine.as_mut().expect("started")
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.apply_in(1, commands)
    }

    fn apply_in(&mut self, term: u64, commands: Vec<Command>) -> Vec<Outcome> {
        self.try_apply(term, commands).unwrap()
    }

    fn try_apply(
        &mut self,
        term: u64,
        commands: Vec<Command>,
    ) -> Result<Vec<Outcome>, StateMachineError> {
        self.applied += 1;
        let id = EntryId::new(Term::new(term), LogIndex::new(self.applied));
        let bytes = Bundle { commands, ..Bundle::default() }.encode();
        let reply = self.machine().apply(id, Payload::Command(bytes))?;
        self.machine().end_of_round();
        Ok(reply::decode(&reply.0).unwrap())
    }

    fn state(&self) -> AppliedState {
        let applied = Some(EntryId::new(Term::new(1), LogIndex::new(self.applied)));
        AppliedState { applied, membership: Bytes::from_static(b"three members") }
    }

    fn checkpoint(&mut self) {
        self.try_checkpoint().unwrap();
    }

    fn try_checkpoint(&mut self) -> Result<(), StateMachineError> {
        let state = self.state();
        self.machine().checkpoint(state)
    }

    fn view(&mut self) -> View {
        let hosted = &self.machine().hosted;
        let row = |hosted: &Hosted| {
            let (progress, checksum) = hosted.partition.handle().checksum().unwrap();
            (progress, checksum, hosted.epoch_base, hosted.tenure)
        };
        hosted.iter().map(|(id, hosted)| (*id, row(hosted))).collect()
    }

    fn directory(&self, partition: PartitionId) -> PathBuf {
        self.dir.path().join("partitions").join(partition.to_string())
    }

    fn stages(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("snapshots")).map_or(0, Iterator::count)
    }
}

fn env(dir: &Path, disk: &Arc<dyn Disk>) -> StateMachineEnv {
    StateMachineEnv {
        kv: Store::open(&dir.join("meta")).unwrap(),
        partitions: PartitionEnv {
            disk: Arc::clone(disk),
            root_dir: dir.join("partitions"),
            segment: quipu_segment::Config::default(),
        },
        snapshot_dir: dir.join("snapshots"),
        table: Arc::default(),
        groups: Arc::default(),
        debt: Arc::default(),
        metrics: ShardMetrics::new(SHARD),
    }
}

fn open(index: u32) -> Command {
    open_with(index, PartitionConfig::default())
}

fn open_with(index: u32, config: PartitionConfig) -> Command {
    let partition = partition(index);
    Command::Control(PartitionControl::Open { partition, epoch_base: 0, config })
}

fn close(index: u32) -> Command {
    Command::Control(PartitionControl::Close { partition: partition(index), arrived_by: None })
}

fn trim(index: u32, to: u64) -> Command {
    let to = Offset::new(to);
    Command::Control(PartitionControl::Trim { partition: partition(index), to })
}

fn append(index: u32, count: i32, fill: u8) -> Command {
    Command::Append { partition: partition(index), batch: batch(count, fill) }
}

fn append_large(index: u32, fill: u8) -> Command {
    Command::Append { partition: partition(index), batch: batch_of((-1, -1, -1), 1, fill, 3000) }
}

/// Small segments, so that a trim removes files.
fn small() -> PartitionConfig {
    PartitionConfig { segment_bytes: 16 << 10, segment_age_ms: 0 }
}

fn base_offset(outcome: &Outcome) -> u64 {
    let Outcome::Appended(appended) = outcome else { panic!("{outcome:?}") };
    appended.base_offset.get()
}

/// A bundle of anything that may happen, valid or not.
fn random_bundle(rng: &mut Rng) -> Vec<Command> {
    let pick = |rng: &mut Rng, bound: u64| u32::try_from(rng.below(bound)).unwrap();
    (0..1 + rng.below(8))
        .map(|_| {
            let index = pick(rng, 6);
            match rng.below(26) {
                20.. => moves::random(rng, index),
                0 => open_with(index, small()),
                1 => close(index),
                2 | 3 => trim(index, rng.below(300)),
                4..12 => append(index, 1 + i32::try_from(rng.below(5)).unwrap(), 1),
                12 => append_large(index, 2),
                _ => {
                    let producer = (
                        i64::from(pick(rng, 3)),
                        i16::try_from(rng.below(2)).unwrap(),
                        i32::try_from(rng.below(6)).unwrap(),
                    );
                    let batch = batch_of(producer, 1, 3, 0);
                    Command::Append { partition: partition(index), batch }
                }
            }
        })
        .collect()
}

#[test]
fn offsets_are_assigned_at_apply_dense_per_partition() {
    let mut replica = Replica::new();
    let outcomes = replica.apply(vec![open(1), open(2)]);
    assert_eq!(outcomes, [Outcome::Opened { is_new: true }, Outcome::Opened { is_new: true }]);
    let outcomes = replica.apply(vec![append(1, 3, 1), append(2, 1, 1), append(1, 2, 1)]);
    assert_eq!(outcomes.iter().map(base_offset).collect::<Vec<_>>(), [0, 0, 3]);
    assert_eq!(replica.apply(vec![append(9, 1, 1)]), [Outcome::UnknownPartition]);
    assert_eq!(base_offset(&replica.apply(vec![append(1, 1, 1)])[0]), 5);
}

#[test]
fn the_leader_epoch_of_a_stored_batch_is_base_plus_term() {
    let mut replica = Replica::new();
    let command = PartitionControl::Open {
        partition: partition(1),
        epoch_base: 10,
        config: PartitionConfig::default(),
    };
    replica.apply_in(4, vec![Command::Control(command), append(1, 1, 1)]);
    let handle = replica.machine().env.table.handle(partition(1)).unwrap();
    let stored = handle.read(Offset::ZERO, 1 << 20).unwrap();
    let header = quipu_types::record::BatchHeader::decode(&stored[0]).unwrap();
    assert_eq!(header.leader_epoch.get(), 14);
}

#[test]
fn a_retry_gets_its_first_offset_and_a_gap_its_reason() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1)]);
    let of = |sequence| Command::Append {
        partition: partition(1),
        batch: batch_of((7, 0, sequence), 1, 1, 0),
    };
    replica.apply(vec![append(1, 4, 1), of(0)]);
    let outcomes = replica.apply(vec![of(0), of(5)]);
    let Outcome::Appended(again) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(again.is_duplicate);
    assert_eq!(again.base_offset, Offset::new(4));
    assert!(
        matches!(&outcomes[1], Outcome::Refused(AppendRefused::OutOfOrderSequence { .. })),
        "{outcomes:?}"
    );
}

/// Two replicas with different checkpoints and restarts answer alike and hold the same bytes.
#[test]
fn the_same_entries_give_the_same_outcomes_and_bytes_whatever_happens_to_a_replica() {
    for seed in 0..12 {
        let mut rng = Rng::seeded(seed);
        let (mut steady, mut shaken) = (Replica::new(), Replica::new());
        let mut log: Vec<Vec<Command>> = Vec::new();
        for _ in 0..60 {
            let bundle = random_bundle(&mut rng);
            log.push(bundle.clone());
            let outcomes = steady.apply(bundle.clone());
            assert_eq!(shaken.apply(bundle), outcomes, "seed {seed}, entry {}", log.len());
            match rng.below(12) {
                0 => shaken.checkpoint(),
                1 => {
                    shaken.restart();
                    let done = usize::try_from(shaken.applied).unwrap();
                    for bundle in &log[done..] {
                        shaken.apply(bundle.clone());
                    }
                }
                _ => {}
            }
            assert_eq!(shaken.view(), steady.view(), "seed {seed}, entry {}", log.len());
        }
    }
}

#[test]
fn a_restart_comes_back_at_the_checkpoint_and_applies_the_rest_again() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1), append(1, 2, 1)]);
    replica.checkpoint();
    let at_checkpoint = replica.view();
    replica.apply(vec![append(1, 2, 2), open(2), append(2, 1, 1)]);
    let at_end = replica.view();
    replica.restart();
    assert_eq!(replica.applied, 1);
    assert_eq!(replica.machine().applied_state().membership, "three members");
    assert_eq!(replica.view(), at_checkpoint);
    replica.apply(vec![append(1, 2, 2), open(2), append(2, 1, 1)]);
    assert_eq!(replica.view(), at_end);
}

#[test]
fn a_closed_partition_keeps_its_directory_until_the_checkpoint_that_forgets_it() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1), append(1, 2, 1)]);
    replica.checkpoint();
    let before = replica.view();
    assert_eq!(
        replica.apply(vec![close(1), close(1)]),
        [Outcome::Closed, Outcome::UnknownPartition]
    );
    assert!(replica.view().is_empty());
    assert!(replica.directory(partition(1)).exists());
    replica.restart();
    assert_eq!(replica.view(), before, "the close was not durable");
    replica.apply(vec![close(1)]);
    replica.checkpoint();
    assert!(!replica.directory(partition(1)).exists());
    replica.restart();
    assert!(replica.view().is_empty());
}

#[test]
fn a_start_finishes_the_removal_that_a_crash_cut_short() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1), append(1, 2, 1)]);
    replica.checkpoint();
    replica.apply(vec![close(1)]);
    replica.checkpoint();
    // As if the process had died between the checkpoint and the removal.
    std::fs::create_dir_all(replica.directory(partition(1))).unwrap();
    replica.restart();
    assert!(!replica.directory(partition(1)).exists());
}

#[test]
fn a_partition_opened_again_before_a_checkpoint_starts_empty_and_spares_the_old_files() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1), append(1, 7, 1)]);
    replica.checkpoint();
    let before = replica.view();
    let again = vec![close(1), open(1), append(1, 1, 9)];
    assert_eq!(base_offset(&replica.apply(again.clone())[2]), 0);
    let after = replica.view();
    replica.restart();
    assert_eq!(replica.view(), before);
    replica.apply(again);
    replica.checkpoint();
    assert_eq!(replica.view(), after);
    assert!(!replica.directory(partition(1)).exists(), "the first life's files are gone");
    replica.restart();
    assert_eq!(replica.view(), after);
}

#[test]
fn opening_again_only_raises_the_epoch_base() {
    let mut replica = Replica::new();
    replica.apply(vec![open(1), append(1, 1, 1)]);
    for (epoch_base, expected) in [(5, 5), (3, 5)] {
        let config = PartitionConfig::default();
        let partition = partition(1);
        let command = PartitionControl::Open { partition, epoch_base, config };
        let outcomes = replica.apply(vec![Command::Control(command)]);
        assert_eq!(outcomes, [Outcome::Opened { is_new: false }]);
        assert_eq!(replica.view()[&partition].2, expected);
    }
    replica.checkpoint();
    replica.restart();
    assert_eq!(replica.view()[&partition(1)].2, 5);
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_replica() {
    let mut replica = Replica::new();
    let id = EntryId::new(Term::new(1), LogIndex::new(1));
    let garbage = Payload::Command(Bytes::from_static(b"\x09not a bundle"));
    let error = replica.machine().apply(id, garbage).unwrap_err();
    assert!(error.to_string().contains("bundle version 9"), "{error}");
}

#[test]
fn thousands_of_empty_partitions_open_quickly() {
    let mut replica = Replica::new();
    for first in (0..3000).step_by(1000) {
        replica.apply((first..first + 1000).map(open).collect());
    }
    replica.checkpoint();
    replica.machine = None;
    let started = quipu_runtime::Clock::thread_instant();
    replica.start();
    let took = started.elapsed();
    assert_eq!(replica.machine().hosted.len(), 3000);
    assert!(took.as_millis() < 1500, "opening took {took:?}");
}

// --- snapshots ---

/// Sends a snapshot; says how many bytes went over.
fn transfer(
    source: &dyn SnapshotSource,
    receiver: &mut dyn SnapshotReceiver,
) -> Result<usize, StateMachineError> {
    let (have, mut cursor, mut bytes) = (receiver.have(), SnapshotCursor::default(), 0);
    while let Some(chunk) = source.chunk(&have, &mut cursor)? {
        bytes += chunk.len();
        receiver.write(chunk)?;
    }
    receiver.finish()?;
    Ok(bytes)
}

fn send(leader: &mut Replica, follower: &mut Replica) -> usize {
    try_send(leader, follower).unwrap()
}

fn try_send(leader: &mut Replica, follower: &mut Replica) -> Result<usize, StateMachineError> {
    let source = leader.machine().snapshot()?;
    let mut receiver = follower.machine().receiver(source.manifest())?;
    let bytes = transfer(&*source, &mut *receiver)?;
    follower.machine().install(leader.state(), receiver)?;
    follower.applied = leader.applied;
    Ok(bytes)
}

/// A leader with some of everything: closed, trimmed, empty and full partitions, producers.
fn busy_leader() -> Replica {
    let mut leader = Replica::new();
    leader.apply((0..5).map(|index| open_with(index, small())).collect());
    for n in 0..40 {
        let batch = batch_of((7, 0, n), 1, 5, 0);
        let idempotent = Command::Append { partition: partition(2), batch };
        leader.apply(vec![append_large(0, 1), append(1, 3, 2), idempotent]);
    }
    leader.apply(vec![trim(0, 30), close(4)]);
    leader
}

#[test]
fn a_snapshot_makes_a_fresh_replica_equal() {
    let mut leader = busy_leader();
    let mut follower = Replica::new();
    send(&mut leader, &mut follower);
    assert_eq!(follower.view(), leader.view());
    // The producers came along: a retry is recognised.
    let retry = Command::Append { partition: partition(2), batch: batch_of((7, 0, 39), 1, 5, 0) };
    let outcomes = leader.apply(vec![retry.clone(), append(0, 1, 1)]);
    assert_eq!(follower.apply(vec![retry, append(0, 1, 1)]), outcomes);
    assert!(matches!(&outcomes[0], Outcome::Appended(appended) if appended.is_duplicate));
    // What was installed was durable.
    follower.restart();
    assert_eq!(follower.stages(), 0, "the stage is removed");
    follower.apply(vec![append(0, 1, 1)]);
    assert_eq!(follower.view()[&partition(0)], leader.view()[&partition(0)]);
}

#[test]
fn a_snapshot_carries_only_what_the_follower_lacks() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    for replica in [&mut leader, &mut follower] {
        replica.apply(vec![open(1), open(2)]);
        for _ in 0..100 {
            replica.apply(vec![append_large(1, 1)]);
        }
    }
    leader.apply(vec![append(1, 1, 9), append(2, 1, 9)]);
    let bytes = send(&mut leader, &mut follower);
    assert!(bytes < 1000, "{bytes} bytes for two small batches");
    assert_eq!(follower.view(), leader.view());
}

#[test]
fn a_partition_behind_the_leaders_log_start_begins_anew() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    for replica in [&mut leader, &mut follower] {
        replica.apply(vec![open_with(1, small()), append_large(1, 1)]);
    }
    follower.checkpoint();
    let before = follower.view();
    for n in 0..40 {
        leader.apply(vec![append_large(1, n)]);
    }
    leader.apply(vec![trim(1, 30)]);
    // Installed but for the checkpoint: a crash brings the old state back.
    let source = leader.machine().snapshot().unwrap();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    transfer(&*source, &mut *receiver).unwrap();
    install_without_checkpoint(&mut follower, receiver);
    follower.restart();
    assert_eq!(follower.view(), before);
    send(&mut leader, &mut follower);
    assert_eq!(follower.view(), leader.view());
    follower.restart();
    assert_eq!(follower.view(), leader.view());
    let files = std::fs::read_dir(follower.directory(partition(1))).unwrap();
    let total: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(total < 16 * 3200, "{total} bytes: the given up segments are gone");
}

#[test]
fn a_broken_transfer_is_continued_by_the_next_whoever_sends_it() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    leader.apply(vec![open(0), open(1), open(2)]);
    for n in 0..250 {
        leader.apply(vec![append_large(0, n), append_large(1, n), append_large(2, n)]);
    }
    let source = leader.machine().snapshot().unwrap();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    let (have, mut cursor, mut received) = (receiver.have(), SnapshotCursor::default(), 0);
    for _ in 0..2 {
        let chunk = source.chunk(&have, &mut cursor).unwrap().unwrap();
        received += chunk.len();
        receiver.write(chunk).unwrap();
    }
    drop(receiver);
    assert_eq!(follower.stages(), 1, "it waits");

    // Longer by now, and one partition has a new life: that one begins anew.
    leader.apply(vec![append_large(0, 1), append_large(2, 1), close(1), open(1), append(1, 2, 7)]);
    let mut whole = Replica::new();
    let all = send(&mut leader, &mut whole);
    let rest = send(&mut leader, &mut follower);
    assert!(rest + received / 4 < all, "{rest} of {all} after {received}");
    assert_eq!(follower.view(), leader.view());
    assert_eq!(follower.stages(), 0);
    follower.restart();
    assert_eq!(follower.view(), leader.view());
}

#[test]
fn the_newest_transfer_overtakes_the_one_before_and_goes_on_from_there() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    leader.apply(vec![open(0), open(1)]);
    for n in 0..250 {
        leader.apply(vec![append_large(0, n), append_large(1, n)]);
    }
    let source = leader.machine().snapshot().unwrap();
    let mut old = follower.machine().receiver(source.manifest()).unwrap();
    let (have, mut cursor) = (old.have(), SnapshotCursor::default());
    old.write(source.chunk(&have, &mut cursor).unwrap().unwrap()).unwrap();
    let mut new = follower.machine().receiver(source.manifest()).unwrap();
    let late = source.chunk(&have, &mut cursor).unwrap().unwrap();
    let refused = old.write(late).unwrap_err().to_string();
    assert!(refused.contains("a newer transfer took its place"), "{refused}");
    let rest = transfer(&*source, &mut *new).unwrap();
    assert!(rest < 900_000, "{rest} bytes: the first megabyte was there");
    // Complete: a transfer that begins now does not take it away.
    let newest = follower.machine().receiver(source.manifest()).unwrap();
    follower.machine().install(leader.state(), new).unwrap();
    follower.applied = leader.applied;
    assert_eq!(follower.view(), leader.view());
    drop(newest);
    drop(old);
}

#[test]
fn the_rest_of_a_transfer_goes_once_the_log_is_followed() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    for replica in [&mut leader, &mut follower] {
        replica.apply(vec![open(0)]);
    }
    leader.apply(vec![append_large(0, 1)]);
    let source = leader.machine().snapshot().unwrap();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    let chunk = source.chunk(&receiver.have(), &mut SnapshotCursor::default()).unwrap().unwrap();
    receiver.write(chunk).unwrap();
    drop(receiver);
    assert_eq!(follower.stages(), 1, "it waits");
    follower.apply(vec![append_large(0, 1)]);
    assert_eq!(follower.stages(), 0);
    assert_eq!(send(&mut leader, &mut follower), 0, "nothing is missing");
    assert_eq!(follower.view(), leader.view());
}

/// Everything an install does before it becomes durable.
fn install_without_checkpoint(follower: &mut Replica, received: Box<dyn SnapshotReceiver>) {
    let receiver = *received.into_any().downcast::<Receiver>().unwrap();
    let (manifest, staged) = receiver.into_parts();
    let machine = follower.machine();
    machine.drop_strangers(&manifest);
    let mut reader = staged.reader();
    for row in &manifest.rows {
        machine.install_partition(row, &mut reader).unwrap();
    }
    assert!(reader.is_at_end());
    // The process dies here: it does not get to remove the stage.
    drop(reader);
    std::mem::forget(staged);
}

#[test]
fn a_partition_of_an_earlier_life_is_not_continued() {
    let (mut leader, mut follower) = (Replica::new(), Replica::new());
    for replica in [&mut leader, &mut follower] {
        replica.apply(vec![open(1), open(2), append(1, 3, 1), append(2, 3, 1)]);
    }
    follower.checkpoint();
    // One shorter than before, one longer.
    leader.apply(vec![close(1), open(1), append(1, 1, 7), close(2), open(2), append(2, 9, 7)]);
    send(&mut leader, &mut follower);
    assert_eq!(follower.view(), leader.view());
    follower.restart();
    assert_eq!(follower.view(), leader.view());
}

#[test]
fn a_crash_in_the_middle_of_an_install_leaves_the_old_state() {
    let mut leader = busy_leader();
    let mut follower = Replica::new();
    // Closed at the leader, behind its log start, continued, and unchanged.
    follower.apply(vec![open(4), open_with(0, small()), open_with(1, small()), open(8)]);
    follower.apply(vec![append(4, 1, 1), append_large(0, 1), append(1, 3, 2), append(8, 1, 1)]);
    follower.checkpoint();
    let before = follower.view();
    for _ in 0..2 {
        let source = leader.machine().snapshot().unwrap();
        let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
        transfer(&*source, &mut *receiver).unwrap();
        install_without_checkpoint(&mut follower, receiver);
        assert_eq!(follower.stages(), 1);
        follower.restart();
        assert_eq!(follower.view(), before);
        assert_eq!(follower.stages(), 0, "a start removes what nobody refers to");
    }
    send(&mut leader, &mut follower);
    assert_eq!(follower.view(), leader.view());
    follower.restart();
    assert_eq!(follower.view(), leader.view());
}

#[test]
fn a_half_received_snapshot_is_invisible() {
    let mut leader = busy_leader();
    let mut follower = Replica::new();
    let source = leader.machine().snapshot().unwrap();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    let (have, mut cursor) = (receiver.have(), SnapshotCursor::default());
    receiver.write(source.chunk(&have, &mut cursor).unwrap().unwrap()).unwrap();
    assert!(follower.view().is_empty());
    assert_eq!(follower.stages(), 1);
    drop(receiver);
    assert!(follower.view().is_empty());
    follower.restart();
    assert!(follower.view().is_empty());
    assert_eq!(follower.stages(), 0, "a start removes what nobody refers to");
}

#[test]
fn the_view_stays_as_it_was_while_the_leader_goes_on() {
    let mut leader = busy_leader();
    let at_view = leader.view();
    let state = leader.state();
    let source = leader.machine().snapshot().unwrap();
    let mut follower = Replica::new();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    for n in 0..50 {
        leader.apply(vec![append_large(0, n), append(1, 1, n), append(2, 1, 1)]);
    }
    leader.checkpoint();
    transfer(&*source, &mut *receiver).unwrap();
    follower.machine().install(state, receiver).unwrap();
    assert_eq!(follower.view(), at_view);
}

#[test]
fn a_transfer_ends_with_an_error_when_its_bytes_are_trimmed_away() {
    let mut leader = busy_leader();
    let source = leader.machine().snapshot().unwrap();
    let mut follower = Replica::new();
    let mut receiver = follower.machine().receiver(source.manifest()).unwrap();
    for n in 0..50 {
        leader.apply(vec![append_large(0, n)]);
    }
    leader.apply(vec![trim(0, 80)]);
    let error = transfer(&*source, &mut *receiver).unwrap_err();
    assert!(error.to_string().contains("read partition"), "{error}");
}

#[test]
fn damaged_missing_and_repeated_chunks_are_refused() {
    let mut leader = Replica::new();
    leader.apply(vec![open(1), open(2)]);
    let large = |index| Command::Append {
        partition: partition(index),
        batch: batch_of((-1, -1, -1), 1, 1, 700 << 10),
    };
    for _ in 0..4 {
        leader.apply(vec![large(1), large(2)]);
    }
    let source = leader.machine().snapshot().unwrap();
    // Each has its own: the next of one would go on where the one before ended.
    let mut followers: Vec<Replica> = (0..5).map(|_| Replica::new()).collect();
    let mut left = followers.iter_mut();
    let mut fresh = || left.next().unwrap().machine().receiver(source.manifest()).unwrap();
    let (mut chunks, mut cursor) = (Vec::new(), SnapshotCursor::default());
    let have = fresh().have();
    while let Some(chunk) = source.chunk(&have, &mut cursor).unwrap() {
        chunks.push(chunk);
    }
    assert!(chunks.len() > 3, "{} chunks", chunks.len());

    let mut damaged = chunks[0].to_vec();
    damaged[5000] ^= 1;
    assert!(fresh().write(Bytes::from(damaged)).is_err());

    let mut receiver = fresh();
    receiver.write(chunks[0].clone()).unwrap();
    assert!(receiver.write(chunks[0].clone()).is_err(), "repeated");

    let mut receiver = fresh();
    receiver.write(chunks[0].clone()).unwrap();
    assert!(receiver.write(chunks[2].clone()).is_err(), "one is missing");

    let mut receiver = fresh();
    receiver.write(chunks[0].clone()).unwrap();
    assert!(receiver.finish().is_err(), "the end is missing");

    let mut manifest = source.manifest().to_vec();
    manifest[20] ^= 1;
    assert!(Replica::new().machine().receiver(Bytes::from(manifest)).is_err());
}

// --- a disk that fails ---

/// What a follower goes through while its power may go: the beginning of the leader's log with two
/// checkpoints, then a snapshot of the rest.
fn live_through(
    log: &[Vec<Command>],
    leader: &mut Replica,
    follower: &mut Replica,
) -> Result<(), StateMachineError> {
    for (place, bundle) in log[..log.len() / 2].iter().enumerate() {
        follower.try_apply(1, bundle.clone())?;
        if place % 10 == 9 {
            follower.try_checkpoint()?;
        }
    }
    try_send(leader, follower).map(drop)
}

/// A log with closed, reopened, trimmed and large partitions, and the leader that applied it.
fn long_log(seed: u64) -> (Vec<Vec<Command>>, Replica) {
    let mut rng = Rng::seeded(seed);
    let mut log = vec![(0..6).map(|index| open_with(index, small())).collect()];
    for _ in 0..50 {
        let mut bundle = random_bundle(&mut rng);
        bundle.extend((0..8).map(|fill| append_large(fill.into(), fill)));
        log.push(bundle);
    }
    let mut leader = Replica::new();
    for bundle in &log {
        leader.apply(bundle.clone());
    }
    (log, leader)
}

#[test]
fn a_power_cut_at_any_write_leaves_what_the_log_leads_on_from() {
    let (log, mut leader) = long_log(1);
    let expected = leader.view();
    let whole = FaultyDisk::new(0, Faults::default());
    let mut follower = Replica::on(Arc::new(whole.clone()));
    live_through(&log, &mut leader, &mut follower).unwrap();
    assert_eq!(follower.view(), expected);
    let changes = whole.mutations();
    assert!(changes > 100, "{changes} changes of the disk");

    let mut died_in_between = 0;
    for seed in 0..60 {
        let cut = 1 + seed * changes / 60;
        let faults = Faults { power_cut_at: Some(cut), ..Faults::default() };
        let disk = FaultyDisk::new(seed, faults);
        let mut follower = Replica::on(Arc::new(disk.clone()));
        let lived = live_through(&log, &mut leader, &mut follower);
        follower.machine = None;
        follower.disk = Arc::new(disk.power_cut());
        follower.start();
        let done = usize::try_from(follower.applied).unwrap();
        died_in_between += usize::from(lived.is_err() && done > 0);
        for bundle in &log[done..] {
            follower.apply(bundle.clone());
        }
        assert_eq!(follower.view(), expected, "power cut at change {cut} of {changes}");
        assert_eq!(follower.stages(), 0);
    }
    assert!(died_in_between > 20, "{died_in_between} cuts behind a checkpoint");
}

#[test]
fn a_failed_flush_is_an_error_and_the_old_checkpoint_stays() {
    let (log, _leader) = long_log(2);
    let disk = FaultyDisk::new(7, Faults::default());
    let mut replica = Replica::on(Arc::new(disk.clone()));
    for bundle in &log[..10] {
        replica.apply(bundle.clone());
    }
    replica.checkpoint();
    let before = replica.view();
    for bundle in &log[10..] {
        replica.apply(bundle.clone());
    }
    disk.set_faults(Faults { sync_fails_at: Some(2), ..Faults::default() });
    let error = replica.try_checkpoint().unwrap_err();
    assert!(error.to_string().contains("flush partition"), "{error}");
    replica.machine = None;
    replica.disk = Arc::new(disk.power_cut());
    replica.start();
    assert_eq!(replica.applied, 10);
    assert_eq!(replica.view(), before);
}

/// A disk that notes, at each removal, which checkpoint was durable in the table by then.
#[derive(Debug)]
struct Witness {
    disk: Arc<dyn Disk>,
    kv: Mutex<Option<Store>>,
    removals: Mutex<Vec<u64>>,
}

impl Witness {
    fn note(&self, path: &Path) {
        let kv = self.kv.lock().unwrap();
        let is_partition = path.components().any(|part| part.as_os_str() == "partitions");
        let is_there = is_partition && self.disk.exists(path);
        let Some(kv) = kv.as_ref().filter(|_| is_there) else { return };
        let row = kv.get(&Key::ShardCheckpoint(SHARD)).unwrap().unwrap();
        let applied = ShardRow::decode(&row).unwrap().applied.unwrap();
        self.removals.lock().unwrap().push(applied.index.get());
    }
}

impl Disk for Witness {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.disk.rename(source, target)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.note(path);
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.note(path);
        self.disk.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Space> {
        self.disk.free_space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.disk.lock(path)
    }
}

/// Trimmed segments, closed partitions, and what an install gives up.
#[test]
fn nothing_is_removed_before_the_checkpoint_that_forgets_it_is_durable() {
    let witness = Arc::new(Witness {
        disk: quipu_disk::real(),
        kv: Mutex::new(None),
        removals: Mutex::new(Vec::new()),
    });
    let removals = || std::mem::take(&mut *witness.removals.lock().unwrap());
    let (mut leader, mut replica) = (Replica::new(), Replica::on(witness.clone()));
    for replica in [&mut leader, &mut replica] {
        replica.apply((1..4).map(|index| open_with(index, small())).collect());
        for n in 0..20 {
            replica.apply((1..4).map(|index| append_large(index, n)).collect());
        }
    }
    replica.checkpoint();
    *witness.kv.lock().unwrap() = Some(replica.machine().env.kv.clone());

    replica.apply(vec![trim(1, 18), close(2)]);
    leader.apply(vec![trim(1, 18), close(2)]);
    assert!(removals().is_empty());
    replica.checkpoint();
    let seen = removals();
    assert!(seen.len() > 2 && seen.iter().all(|applied| *applied == 22), "{seen:?}");

    for n in 0..60 {
        leader.apply(vec![append_large(1, n)]);
    }
    leader.apply(vec![trim(1, 70), close(3)]);
    send(&mut leader, &mut replica);
    let (seen, end) = (removals(), leader.applied);
    assert!(seen.len() > 1 && seen.iter().all(|applied| *applied == end), "{seen:?}");
    assert_eq!(replica.view(), leader.view());
    // Lets the table go before its directory does.
    *witness.kv.lock().unwrap() = None;
}
