//! What lies on this node's disk, opened and recovered.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use anyhow::bail;
use quipu_consensus::Consensus;
use quipu_journal::{FlushPolicy, Journal};
use quipu_kv::Store;
use quipu_metadata::identity::Rebuild;
use quipu_metadata::{Identity, Images, MetadataStateMachine};
use quipu_partition::PartitionEnv;
use quipu_runtime::{Clock, Fatal, TaskGroup};
use quipu_segment::OpenFiles;
use quipu_types::ShardId;

use crate::config::Config;
use crate::descriptors;
use crate::opener::Opener;

/// Purged journal files kept for another life: what checkpoints set free at once is soon needed.
const RECYCLED_BYTES: u64 = 1 << 30;

/// What a start finds.
pub(super) enum Found {
    /// Everything that was promised is there.
    Whole(Box<Local>),
    /// Some of it may be forgotten, for this reason. Nothing is open, and nothing was changed.
    Lost(String),
}

/// Everything a node keeps.
pub(super) struct Local {
    pub(super) identity: Identity,
    pub(super) journal: Arc<Journal>,
    kv: Store,
    pub(super) images: Images,
    /// Until the metadata group owns it.
    pub(super) machine: Option<MetadataStateMachine>,
    partitions: PartitionEnv,
    snapshot_dir: PathBuf,
}

/// Takes the data directory, and counts the start.
pub(super) async fn identify(config: &Config) -> anyhow::Result<Identity> {
    let (dir, node) = (config.node.data_dir.clone(), config.node.id);
    let opened = move || Identity::open(quipu_disk::real(), &dir, node, None);
    Ok(tokio::task::spawn_blocking(opened).await??)
}

/// Opens what is in it.
pub(super) async fn open(
    config: &Config,
    identity: &Identity,
    tasks: &TaskGroup,
) -> anyhow::Result<Found> {
    let (config, identity, fatal) = (config.clone(), identity.clone(), tasks.fatal().clone());
    tokio::task::spawn_blocking(move || recover(&config, identity, fatal)).await?
}

fn recover(config: &Config, identity: Identity, fatal: Fatal) -> anyhow::Result<Found> {
    let disk = quipu_disk::real();
    let dir = config.node.data_dir.as_path();
    if identity.rebuild() == Some(Rebuild::Asking) {
        let why = "the journal was damaged at an earlier start, and the cluster was asked for \
                   other replicas";
        return Ok(Found::Lost(why.to_owned()));
    }
    let moved_to = identity.move_aside()?;
    let on_fatal = Arc::new(move |reason: String| fatal.stop_node(reason));
    let opened =
        Journal::open(Arc::clone(&disk), dir.join("journal"), journal_config(config)?, on_fatal);
    let (journal, report) = match opened {
        Ok(opened) => opened,
        Err(error) if error.is_loss() => return Ok(Found::Lost(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    if let Some(folder) = moved_to {
        persist(&journal)?;
        identity.end_rebuild()?;
        let replica = identity.replica();
        tracing::warn!(%folder, %replica, "the old data is in quarantine/; this node begins anew");
    }
    tracing::info!(
        files = report.files,
        entries = report.entries,
        bytes = report.bytes,
        torn = ?report.torn,
        ambiguous = ?report.ambiguous,
        "journal recovered"
    );
    let kv = Store::open(&dir.join("meta"))?;
    let (machine, images) = MetadataStateMachine::open(kv.clone())?;
    Ok(Found::Whole(Box::new(Local {
        identity,
        journal: Arc::new(journal),
        kv,
        images,
        machine: Some(machine),
        partitions: PartitionEnv {
            disk,
            root_dir: dir.join("partitions"),
            segment: quipu_segment::Config {
                open_files: OpenFiles::new(descriptors::writers_max()),
                ..quipu_segment::Config::default()
            },
        },
        snapshot_dir: dir.join("snapshots"),
    })))
}

/// Waits until a new journal is on the disk.
fn persist(journal: &Journal) -> anyhow::Result<()> {
    let (sender, flushed) = mpsc::channel();
    let barrier = journal.group(ShardId::METADATA);
    barrier.barrier(Box::new(move |result| drop(sender.send(result))));
    match flushed.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => bail!("the journal has stopped"),
    }
}

impl Local {
    pub(super) fn opener(
        &self,
        consensus: &Arc<Consensus>,
        clock: &Clock,
        tasks: &TaskGroup,
    ) -> Opener {
        Opener {
            consensus: Arc::clone(consensus),
            journal: Arc::clone(&self.journal),
            kv: self.kv.clone(),
            partitions: self.partitions.clone(),
            snapshot_dir: self.snapshot_dir.clone(),
            first_replica: self.identity.replica(),
            clock: clock.clone(),
            tasks: tasks.child("shards"),
        }
    }
}

fn journal_config(config: &Config) -> anyhow::Result<quipu_journal::Config> {
    Ok(quipu_journal::Config {
        file_bytes: config.journal.file_bytes,
        recycled_files_max: usize::try_from((RECYCLED_BYTES / config.journal.file_bytes).max(2))?,
        tail_bytes_max: usize::try_from(config.journal.tail_bytes)?,
        flush: config.journal.flush_interval.map_or(FlushPolicy::Always, FlushPolicy::Interval),
    })
}
