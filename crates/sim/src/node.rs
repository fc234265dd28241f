//! One life of the process: what it opened of its disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use quipu_disk::{Disk, Faults, FaultyDisk};
use quipu_journal::{Journal, OpenError};
use quipu_kv::{Gate, SimTables, Store};
use quipu_partition::PartitionEnv;
use quipu_runtime::Rng;
use quipu_shard::Residence;
use quipu_shard::sim::SimEnv;
use quipu_types::{ReplicaId, ShardId};

use crate::disk::SimDisk;
use crate::plan::Plan;
use crate::plant::Plant;
use crate::stop::{Step, Stop};
use crate::trace::Trace;

const ROOT: &str = "/node";

/// What survives a process: the disk, and the tables on it.
#[derive(Clone)]
pub(crate) struct Remains {
    pub(crate) disk: FaultyDisk,
    pub(crate) tables: SimTables,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Kill,
    PowerCut,
}

impl Remains {
    /// A new disk.
    pub(crate) fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed, Faults::default());
        Self { disk, tables: SimTables::new(Arc::new(|_| Ok(()))) }
    }

    /// What a process leaves whose tables are these.
    pub(crate) fn left(&mut self, tables: &SimTables, end: End, process: &mut Leaving<'_>) {
        let end = if self.disk.is_dead() { End::PowerCut } else { end };
        let unflushed = u64::try_from(tables.unflushed()).expect("few");
        let kept = usize::try_from(process.rng.below(unflushed + 1)).expect("few");
        let what = format_args!("{end:?}, {kept} of {unflushed} writes of the tables kept");
        process.trace.note(what);
        self.disk = match end {
            End::Kill => self.disk.restart(),
            End::PowerCut => self.disk.power_cut(),
        };
        if process.plant != Some(Plant::TablesFlushLies) {
            self.tables = tables.crash(kept, Arc::new(|_| Ok(())));
        }
    }
}

/// What the end of a process is decided by, and told to.
pub(crate) struct Leaving<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) trace: &'a Trace,
    pub(crate) plant: Option<Plant>,
}

/// A running process.
pub(crate) struct Node {
    pub(crate) disk: SimDisk,
    pub(crate) tables: SimTables,
    pub(crate) journal: Arc<Journal>,
    pub(crate) trace: Trace,
    pub(crate) plant: Option<Plant>,
    plan: Plan,
    store: Store,
    segment: quipu_segment::Config,
    /// Why the journal writes no more.
    fatal: Arc<Mutex<Option<String>>>,
}

impl Node {
    /// Starts a process on what the last one left.
    pub(crate) fn open(
        remains: &Remains,
        plan: Plan,
        trace: &Trace,
        plant: Option<Plant>,
    ) -> Step<Self> {
        let disk = SimDisk::new(remains.disk.clone(), trace.clone(), plant);
        disk.create_dir_all(&tables_dir()).map_err(|error| disk.stop(error))?;
        let tables = remains.tables.crash(0, gate(&disk));
        let store = Store::simulated(&tables).map_err(|error| disk.stop(error))?;
        let fatal = Arc::new(Mutex::new(None));
        let (journal, report) = Journal::open_stepped(
            Arc::new(disk.clone()),
            Path::new(ROOT).join("journal"),
            plan.journal,
            on_fatal(&fatal),
        )
        .map_err(|error| {
            if matches!(error, OpenError::Io { .. }) {
                disk.stop(error)
            } else {
                Stop::violation(format!("a crash looks like damage: {error}"))
            }
        })?;
        trace.note(format_args!("journal recovered: {report:?}"));
        let (segment, trace) = (plan.segment(), trace.clone());
        Ok(Self {
            disk,
            tables,
            journal: Arc::new(journal),
            trace,
            plant,
            plan,
            store,
            segment,
            fatal,
        })
    }

    /// What a shard of this process stands on.
    pub(crate) fn shard_env(&self, shard: ShardId) -> SimEnv {
        let dir = Path::new(ROOT).join(format!("shard-{shard}"));
        SimEnv {
            kv: self.store.clone(),
            partitions: PartitionEnv {
                disk: Arc::new(self.disk.clone()),
                root_dir: dir.join("partitions"),
                segment: self.segment.clone(),
            },
            snapshot_dir: dir.join("snapshots"),
        }
    }

    /// Whose data of a shard this disk has.
    pub(crate) fn residence(&self, shard: ShardId) -> Residence {
        let SimEnv { kv, partitions, snapshot_dir } = self.shard_env(shard);
        let first = ReplicaId::default();
        Residence::new(kv, Arc::clone(&self.journal), partitions, snapshot_dir, first)
    }

    /// The tables.
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Files of half-received snapshots of a shard.
    pub(crate) fn staged_of(&self, shard: ShardId) -> Vec<PathBuf> {
        let mut dirs = vec![self.shard_env(shard).snapshot_dir];
        let mut files = Vec::new();
        while let Some(dir) = dirs.pop() {
            for entry in self.disk.read_dir(&dir).unwrap_or_default() {
                let path = dir.join(&entry.name);
                if entry.is_dir { dirs.push(path) } else { files.push(path) }
            }
        }
        files
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A call was refused: by a planned fault, or for no good reason.
    pub(crate) fn stop(&self, what: impl ToString) -> Stop {
        self.disk.stop(what)
    }

    /// Lets the journal write and flush everything that waits.
    pub(crate) fn step_journal(&self) -> Step {
        while self.journal.step() {}
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fatal.map_or(Ok(()), |reason| Err(self.stop(reason)))
    }

    /// Whether a fault was planted.
    pub(crate) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }
}

fn tables_dir() -> PathBuf {
    Path::new(ROOT).join("tables")
}

/// Writes and flushes of the tables count as changes of the disk, so that the power can go there.
fn gate(disk: &SimDisk) -> Gate {
    let disk = disk.clone();
    Arc::new(move |_| disk.sync_dir(&tables_dir()).map_err(|error| error.to_string()))
}

fn on_fatal(fatal: &Arc<Mutex<Option<String>>>) -> Arc<dyn Fn(String) + Send + Sync> {
    let fatal = Arc::clone(fatal);
    Arc::new(move |reason| {
        *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    })
}
