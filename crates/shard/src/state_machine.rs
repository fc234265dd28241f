//! What a committed entry does: the same on every replica.
//!
//! The outcome of a command depends on the entries before it and on nothing else: no clock, no
//! randomness, no order of a hash. What is local (files, checkpoints, generations of directories)
//! never shows in an outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::{
    AppliedState, Payload, Reply, SnapshotReceiver, SnapshotSource, StateMachine, StateMachineError,
};
use quipu_coordinator::{Groups, RowKey};
use quipu_disk::Disk;
use quipu_kv::{Key, KeyPrefix, Store};
use quipu_partition::{Partition, PartitionCheckpoint, PartitionEnv, SegmentConfig};
use quipu_types::{EntryId, LogIndex, MoveId, PartitionId, ShardId, TimestampMs};

use crate::bundle::{Bundle, Command, PartitionConfig, PartitionControl};
use crate::groups::GroupTable;
use crate::metrics::ShardMetrics;
use crate::reply::{self, Outcome};
use crate::row::{InvalidRow, PartitionRow, ShardRow};
use crate::snapshot::{self, Berth, Receiver, Staged};
use crate::table::{self, Debt, PartitionTable, leader_epoch};
use crate::tenure::Tenure;

pub(crate) use open_error::StateMachineOpenError;

mod checkpoint;
mod install;
mod moving;
mod open_error;
#[cfg(test)]
mod tests;

/// What a state machine stands on.
pub(crate) struct StateMachineEnv {
    pub(crate) kv: Store,
    pub(crate) partitions: PartitionEnv,
    pub(crate) snapshot_dir: PathBuf,
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) debt: Arc<Debt>,
    pub(crate) metrics: ShardMetrics,
}

/// The state machine of one shard: its partitions, and which of them changed.
pub struct ShardStateMachine {
    shard: ShardId,
    env: StateMachineEnv,
    hosted: BTreeMap<PartitionId, Hosted>,
    /// Changed in this round of applies.
    touched: BTreeSet<PartitionId>,
    /// Whether a consumer group may have changed in this round.
    is_group_touched: bool,
    /// Directories to remove once a checkpoint that forgets them is durable.
    garbage: BTreeSet<(PartitionId, u32)>,
    /// As of the last durable checkpoint.
    durable: AppliedState,
    /// Names of staged snapshots are not used twice.
    next_stage: AtomicU64,
    berth: Berth,
}

/// A partition this shard hosts.
struct Hosted {
    partition: Partition,
    /// The entry that opened it: tells its lives apart.
    opened: LogIndex,
    epoch_base: i32,
    config: PartitionConfig,
    tenure: Tenure,
    generation: u32,
    /// Whether its row says something else than what is here.
    is_row_stale: bool,
    /// The partition's state as encoded last; out of date once the partition is dirty.
    state: Option<Bytes>,
}

impl Hosted {
    /// The open log follows its configuration too: a change needs no restart.
    fn reconfigure(&mut self, node: &SegmentConfig, config: PartitionConfig) {
        self.config = config;
        self.partition.reconfigure(&segment_config(node.clone(), config));
    }

    /// What callers see of it.
    fn table_row(&self) -> table::Hosted {
        table::Hosted {
            handle: self.partition.handle(),
            config: self.config,
            tenure: self.tenure,
            epoch_base: self.epoch_base,
        }
    }
}

impl ShardStateMachine {
    /// Opens the state of a shard as of its last durable checkpoint.
    pub(crate) fn open(
        env: StateMachineEnv,
        shard: ShardId,
    ) -> Result<Self, StateMachineOpenError> {
        let shard_row = match env.kv.get(&Key::ShardCheckpoint(shard))? {
            Some(bytes) => ShardRow::decode(&bytes)?,
            None => ShardRow::default(),
        };
        snapshot::clear_stages(&*env.partitions.disk, &env.snapshot_dir, shard)?;
        let mut machine = Self {
            shard,
            env,
            hosted: BTreeMap::new(),
            touched: BTreeSet::new(),
            is_group_touched: false,
            garbage: shard_row.garbage.iter().copied().collect(),
            durable: shard_row.state(),
            next_stage: AtomicU64::new(0),
            berth: Berth::default(),
        };
        machine.remove_garbage();
        machine.open_partitions()?;
        machine.open_groups()?;
        Ok(machine)
    }

    fn open_groups(&self) -> Result<(), StateMachineOpenError> {
        let mut rows = Vec::new();
        for (key, bytes) in self.env.kv.scan(KeyPrefix::ConsumerGroups(self.shard))? {
            let Key::ConsumerGroup(_, name) = key else { return Err(InvalidRow.into()) };
            let key = RowKey::new(&name).map_err(|_| InvalidRow)?;
            rows.push((key, bytes));
        }
        let groups = Groups::open(rows)?;
        self.env.groups.write(|table| *table = groups);
        Ok(())
    }

    fn open_partitions(&mut self) -> Result<(), StateMachineOpenError> {
        for (key, bytes) in self.env.kv.scan(KeyPrefix::PartitionCheckpoint(self.shard))? {
            let Key::PartitionCheckpoint(_, partition) = key else { return Err(InvalidRow.into()) };
            let row = PartitionRow::decode(&bytes)?;
            let checkpoint =
                PartitionCheckpoint::decode(&row.checkpoint).map_err(|_| InvalidRow)?;
            let hosted = self
                .open_hosted(partition, &row, checkpoint)
                .map_err(|reason| StateMachineOpenError::Partition { partition, reason })?;
            self.host(partition, hosted);
        }
        Ok(())
    }

    fn open_hosted(
        &self,
        id: PartitionId,
        row: &PartitionRow,
        checkpoint: PartitionCheckpoint,
    ) -> Result<Hosted, String> {
        let env = self.partition_env(row.generation, row.config);
        let partition = Partition::open(&env, id, checkpoint).map_err(|error| error.to_string())?;
        Ok(Hosted {
            partition,
            opened: row.opened,
            epoch_base: row.epoch_base,
            config: row.config,
            tenure: row.tenure,
            generation: row.generation,
            is_row_stale: false,
            state: None,
        })
    }

    /// A partition nobody hosted here before, in a directory of its own.
    fn open_new(
        &self,
        id: PartitionId,
        opened: LogIndex,
        (epoch_base, tenure): (i32, Tenure),
        config: PartitionConfig,
    ) -> Result<Hosted, StateMachineError> {
        let generation = self.free_generation(id, tenure);
        let checkpoint = Bytes::new();
        let row = PartitionRow { opened, epoch_base, config, generation, tenure, checkpoint };
        let hosted = self
            .open_hosted(id, &row, PartitionCheckpoint::default())
            .map_err(|reason| failed("open partition", id, reason))?;
        Ok(Hosted { is_row_stale: true, ..hosted })
    }

    /// Makes a partition visible, or replaces it.
    fn host(&mut self, partition: PartitionId, hosted: Hosted) {
        self.env.table.insert(hosted.table_row());
        self.hosted.insert(partition, hosted);
        self.update_count();
    }

    /// Forgets a partition; its directory goes with the next checkpoint.
    fn unhost(&mut self, partition: PartitionId) {
        let Some(hosted) = self.hosted.remove(&partition) else { return };
        self.env.table.remove(partition);
        self.touched.remove(&partition);
        self.garbage.insert((partition, hosted.generation));
        quipu_failpoint::hit("shard.partition.close.after");
        self.update_count();
    }

    fn update_count(&self) {
        let count = crate::bundler::count_f64(self.env.table.len());
        self.env.metrics.partitions.set(count);
    }

    /// The first directory of a partition that the durable checkpoint may not refer to.
    fn free_generation(&self, partition: PartitionId, tenure: Tenure) -> u32 {
        let hosted = self.hosted.get(&partition).map(|hosted| hosted.generation);
        let is_taken = |generation: &u32| {
            hosted == Some(*generation) || self.garbage.contains(&(partition, *generation))
        };
        let mut generations = Tenure::first_generation(tenure.arrived_by)..;
        generations.find(|generation| !is_taken(generation)).expect("they are removed in time")
    }

    fn partition_env(&self, generation: u32, config: PartitionConfig) -> PartitionEnv {
        let mut env = self.env.partitions.clone();
        env.root_dir = generation_root(&env.root_dir, self.shard, generation);
        env.segment = segment_config(env.segment, config);
        env
    }

    fn apply_bundle(&mut self, id: EntryId, bytes: Bytes) -> Result<Reply, StateMachineError> {
        self.env.debt.add(bytes.len());
        let bundle = Bundle::decode(bytes).map_err(|error| failed("apply entry", id, error))?;
        let mut outcomes = Vec::with_capacity(bundle.commands.len());
        for command in &bundle.commands {
            outcomes.push(self.apply_command(id, bundle.proposed_at, command)?);
        }
        Ok(Reply(reply::encode(&outcomes)))
    }

    fn apply_command(
        &mut self,
        id: EntryId,
        proposed_at: TimestampMs,
        command: &Command,
    ) -> Result<Outcome, StateMachineError> {
        match command {
            Command::Append { partition, batch } => {
                let Some(hosted) = self.open_mut(*partition) else {
                    return Ok(Outcome::UnknownPartition);
                };
                let epoch = leader_epoch(hosted.epoch_base, id.term);
                let applied = hosted
                    .partition
                    .apply_append(epoch, batch)
                    .map_err(|error| failed("append to partition", partition, error))?;
                self.touched.insert(*partition);
                Ok(applied.map_or_else(Outcome::Refused, Outcome::Appended))
            }
            Command::Import { partition, by, log_start, batch } => {
                self.apply_import((*partition, *by), *log_start, batch)
            }
            Command::Control(control) => self.apply_control(id, control),
            Command::Group(bytes) => {
                let command = quipu_coordinator::Command::decode(bytes)
                    .map_err(|error| failed("apply entry", id, error))?;
                // Commits change nobody's assignment: nobody waits for them.
                let is_commit = matches!(command, quipu_coordinator::Command::Commit { .. });
                self.is_group_touched |= !is_commit;
                quipu_failpoint::hit("shard.group.apply.before");
                let answer = self.env.groups.apply(proposed_at, command);
                quipu_failpoint::hit("shard.group.apply.after");
                Ok(Outcome::Group(answer.encode()))
            }
        }
    }

    fn apply_control(
        &mut self,
        id: EntryId,
        control: &PartitionControl,
    ) -> Result<Outcome, StateMachineError> {
        match *control {
            PartitionControl::Open { partition, epoch_base, config } => {
                self.apply_open(id, partition, epoch_base, config)
            }
            PartitionControl::Close { partition, arrived_by } => {
                Ok(self.apply_close(partition, arrived_by))
            }
            PartitionControl::Receive { partition, by, is_anew, config } => {
                self.apply_receive(id, (partition, by), is_anew, config)
            }
            PartitionControl::Seal { partition, by } => Ok(self.apply_seal(id, (partition, by))),
            PartitionControl::Unseal { partition, by } => Ok(self.apply_unseal((partition, by))),
            PartitionControl::Adopt { partition, by, epoch_after, ref state } => {
                self.apply_adopt(id, (partition, by), epoch_after, state)
            }
            PartitionControl::Trim { partition, to } => {
                let Some(hosted) = self.open_mut(partition) else {
                    return Ok(Outcome::UnknownPartition);
                };
                let progress = hosted
                    .partition
                    .apply_trim(to)
                    .map_err(|error| failed("trim partition", partition, error))?;
                quipu_failpoint::hit("shard.partition.trim.after");
                self.touched.insert(partition);
                Ok(Outcome::Trimmed(progress))
            }
        }
    }

    fn apply_close(&mut self, partition: PartitionId, arrived_by: Option<MoveId>) -> Outcome {
        match self.hosted.get(&partition) {
            None => Outcome::UnknownPartition,
            // Another life of it than was meant: it came back meanwhile.
            Some(hosted) if hosted.tenure.arrived_by != arrived_by => Outcome::Misplaced,
            Some(_) => {
                self.unhost(partition);
                Outcome::Closed
            }
        }
    }

    /// A partition that is this shard's, and whole.
    fn open_mut(&mut self, partition: PartitionId) -> Option<&mut Hosted> {
        self.hosted.get_mut(&partition).filter(|hosted| hosted.tenure.is_open())
    }

    fn apply_open(
        &mut self,
        id: EntryId,
        partition: PartitionId,
        epoch_base: i32,
        config: PartitionConfig,
    ) -> Result<Outcome, StateMachineError> {
        if let Some(hosted) = self.hosted.get_mut(&partition) {
            // The epoch never goes back, whoever repeats the command.
            hosted.epoch_base = hosted.epoch_base.max(epoch_base);
            hosted.reconfigure(&self.env.partitions.segment, config);
            hosted.is_row_stale = true;
            self.env.table.insert(hosted.table_row());
            return Ok(Outcome::Opened { is_new: false });
        }
        let hosted = self.open_new(partition, id.index, (epoch_base, Tenure::default()), config)?;
        self.host(partition, hosted);
        quipu_failpoint::hit("shard.partition.open.after");
        self.touched.insert(partition);
        Ok(Outcome::Opened { is_new: true })
    }

    fn publish(&mut self) {
        for partition in std::mem::take(&mut self.touched) {
            if let Some(hosted) = self.hosted.get_mut(&partition) {
                hosted.partition.publish();
            }
        }
        if std::mem::take(&mut self.is_group_touched) {
            self.env.groups.publish();
        }
    }
}

impl StateMachine for ShardStateMachine {
    fn applied_state(&self) -> AppliedState {
        self.durable.clone()
    }

    fn apply(&mut self, id: EntryId, payload: Payload) -> Result<Reply, StateMachineError> {
        match payload {
            Payload::Command(bytes) => self.apply_bundle(id, bytes),
            Payload::Blank | Payload::Membership(_) => {
                if quipu_failpoint::is_planted("plant.dedupe.lost-at-leader-change") {
                    self.hosted.values_mut().for_each(|it| it.partition.forget_producers());
                }
                self.env.debt.add(0);
                Ok(Reply(Bytes::new()))
            }
        }
    }

    fn end_of_round(&mut self) {
        self.publish();
        // Who follows the log again needs no rest of a snapshot.
        self.berth.clear();
    }

    fn checkpoint(&mut self, state: AppliedState) -> Result<(), StateMachineError> {
        self.make_durable(&state).map_err(|error| failed("checkpoint shard", self.shard, error))
    }

    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError> {
        self.snapshot_source().map(|source| source as Arc<dyn SnapshotSource>)
    }

    fn receiver(
        &mut self,
        manifest: Bytes,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        self.publish();
        let stage = self.next_stage.fetch_add(1, Ordering::Relaxed);
        let have = self.have();
        let disk = Arc::clone(&self.env.partitions.disk);
        let dir = snapshot::stage_dir(&self.env.snapshot_dir, self.shard, stage);
        let ticket = self.berth.begin(|| Staged::create(disk, dir));
        let ticket =
            ticket.map_err(|error| failed("stage snapshot of shard", self.shard, error))?;
        let telling = self.env.metrics.receipts.begin();
        let receiver = Receiver::create(ticket, telling, &manifest, have)
            .map_err(|error| failed("stage snapshot of shard", self.shard, error))?;
        Ok(Box::new(receiver))
    }

    fn install(
        &mut self,
        state: AppliedState,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        let receiver = received
            .into_any()
            .downcast::<Receiver>()
            .map_err(|_| failed("install snapshot of shard", self.shard, "not made here"))?;
        self.install_received(&state, *receiver)
    }
}

/// How a partition's log is cut: as its configuration says, else as the node does.
fn segment_config(node: SegmentConfig, config: PartitionConfig) -> SegmentConfig {
    let mut segment = node;
    if config.segment_bytes != 0 {
        segment.segment_bytes = config.segment_bytes;
    }
    if config.segment_age_ms != 0 {
        segment.segment_age_max = Duration::from_millis(config.segment_age_ms);
    }
    segment
}

/// Partitions of generation 0 lie where everybody expects them; one that replaces a directory the
/// durable checkpoint still needs lies beside. One that moved here lies in the shard's own folder:
/// another shard of the node may still have the directory it comes from, or is to go to.
pub(crate) fn generation_root(root: &Path, shard: ShardId, generation: u32) -> PathBuf {
    match generation {
        0 => root.to_path_buf(),
        generation if Tenure::is_moved(generation) => {
            root.join(format!("generation-{generation}-of-shard-{shard}"))
        }
        generation => root.join(format!("generation-{generation}")),
    }
}

/// Removes the folder of a generation once it is empty.
pub(crate) fn remove_empty(disk: &dyn Disk, root: &Path, parent: &Path) -> io::Result<()> {
    if parent != root && disk.read_dir(parent)?.is_empty() {
        disk.remove_dir_all(parent)?;
        disk.sync_dir(root)?;
    }
    Ok(())
}

/// An error that ends the process: what was done, to what, and why it failed.
pub(crate) fn failed(
    what: &str,
    whom: impl std::fmt::Display,
    why: impl std::fmt::Display,
) -> StateMachineError {
    StateMachineError::new(format!("{what} {whom}: {why}"))
}
