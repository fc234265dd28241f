//! The order of wiring. Each step stands on the ones before it; `shutdown` goes back the same way.

mod local;
mod rebuild;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use quipu_broker::{Broker, BrokerEnv};
use quipu_consensus::Consensus;
use quipu_journal::Journal;
use quipu_listener::Connection;
use quipu_metadata::bootstrap::Settings;
use quipu_metadata::{Addresses, Bootstrap, Identity, Images};
use quipu_runtime::{Clock, OnExit, TaskGroup};
use quipu_shard::{CheckpointConfig, Shards, spawn_checkpointer};
use quipu_types::ShardId;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::disk_gauge::DiskGauge;
use crate::http::{self, Routes};
use crate::progress::StartProgress;
use crate::{service_manager, telemetry};
use local::{Found, Local};
use rebuild::Lost;

/// How often a node looks whether it is ready.
const READY_LOOK: Duration = Duration::from_millis(10);

/// A node that was started.
pub struct Node {
    pub(crate) broker: Broker,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) journal: Arc<Journal>,
    /// What takes clients.
    pub(crate) listeners: TaskGroup,
    /// What makes checkpoints.
    pub(crate) checkpointing: TaskGroup,
}

impl Node {
    /// Waits until clients can be served.
    pub(crate) async fn wait_ready(&self) -> anyhow::Result<()> {
        while !self.broker.ready_problems().is_empty() {
            tokio::time::sleep(READY_LOOK).await;
        }
        Ok(())
    }
}

/// Starts a node, bottom up.
///
/// # Errors
/// The first step that failed, in words.
pub(crate) async fn start(
    config: &Config,
    clock: &Clock,
    tasks: &TaskGroup,
    progress: &StartProgress,
) -> anyhow::Result<Node> {
    let metrics = telemetry::start_metrics()?;
    let routes = Routes { metrics, progress: progress.clone() };
    http::serve(config.listeners.metrics, routes, tasks).await?;
    let listener = bind(config, "listeners.client", config.listeners.client).await?;
    let peer_listener = bind(config, "listeners.peer", config.listeners.peer).await?;

    progress.enter("opening the data directory");
    let mut local = open(config, clock, tasks, progress).await?;
    progress.enter("joining the peers");
    let consensus = consensus(config, clock, tasks, (&local.identity, &local.images));
    serve_peers(&consensus, peer_listener, tasks);
    service_manager::up();
    let gauge = DiskGauge {
        dir: config.node.data_dir.clone(),
        min_free: config.storage.min_free,
        consensus: Arc::clone(&consensus),
    };
    tasks.spawn("disk-gauge", OnExit::StopNode, gauge.run());
    progress.enter("waiting for the metadata group");
    let machine = local.machine.take().context("the state machine is opened once")?;
    let bootstrap = Bootstrap {
        identity: local.identity.clone(),
        consensus: Arc::clone(&consensus),
        journal: local.journal.group(ShardId::METADATA),
        machine,
        images: local.images.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        settings: settings(config),
    };
    let metadata = bootstrap.run(|phase| progress.enter(phase)).await?;

    progress.enter("opening shards");
    let checkpointing = tasks.child("checkpoints");
    let shards = Shards::new();
    let broker = Broker::start(BrokerEnv {
        node: config.node.id,
        consensus: Arc::clone(&consensus),
        metadata,
        shards: shards.clone(),
        opener: Arc::new(local.opener(&consensus, clock, tasks)),
        retention_interval: config.storage.retention_interval,
        scrub_interval: config.storage.scrub_interval,
        clock: clock.clone(),
        tasks: tasks.clone(),
    });
    let when = CheckpointConfig {
        journal_bytes_max: config.storage.checkpoint_bytes,
        interval: config.storage.checkpoint_interval,
    };
    spawn_checkpointer(when, shards, clock.clone(), &checkpointing);
    checkpoint_metadata(&consensus, config.storage.checkpoint_interval, &checkpointing);

    let listeners = tasks.child("listeners");
    let limits = quipu_listener::Config {
        request_memory_bytes: usize::try_from(config.limits.request_memory_bytes)?,
    };
    quipu_listener::serve(listener, broker.clone(), limits, &listeners)?;
    progress.finish(broker.clone());
    Ok(Node { broker, consensus, journal: local.journal, listeners, checkpointing })
}

async fn bind(config: &Config, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("node {}: listen on {key} {address}", config.node.id))
}

/// Opens what lies on the disk. What cannot be opened without forgetting promises goes, if others
/// can feed this node.
async fn open(
    config: &Config,
    clock: &Clock,
    tasks: &TaskGroup,
    progress: &StartProgress,
) -> anyhow::Result<Local> {
    let identity = local::identify(config).await?;
    loop {
        match local::open(config, &identity, tasks).await? {
            Found::Whole(local) => return Ok(*local),
            Found::Lost(why) => {
                let node = Lost { config, clock, tasks, identity: &identity, why: &why };
                node.rebuild(progress).await?;
            }
        }
    }
}

fn consensus(
    config: &Config,
    clock: &Clock,
    tasks: &TaskGroup,
    (identity, images): (&Identity, &Images),
) -> Arc<Consensus> {
    let raft = quipu_consensus::Config {
        heartbeat_interval: config.raft.heartbeat,
        election_timeout_min: config.raft.election_min,
        election_timeout_max: config.raft.election_max,
        silence_max: config.raft.election_max,
        entries_kept: config.storage.journal_entries_kept,
        catch_up_rate: config.limits.catch_up_rate,
        ..quipu_consensus::Config::default()
    };
    let addresses = Addresses::new(&config.cluster.bootstrap, images.clone());
    Consensus::new(raft, identity.peer_identity(), Arc::new(addresses), clock.clone(), tasks)
}

fn settings(config: &Config) -> Settings {
    Settings {
        bootstrap: config.cluster.bootstrap.clone(),
        shards_per_node: config.cluster.shards_per_node,
        rebalance_after: config.cluster.rebalance_after,
        address_client: config.listeners.client_advertise.clone(),
        address_peer: config.listeners.peer_advertise.clone(),
        rack: config.node.rack.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn serve_peers(consensus: &Arc<Consensus>, listener: TcpListener, tasks: &TaskGroup) {
    let router = quipu_consensus::peer_server().add_service(consensus.peer_service());
    let incoming = quipu_consensus::peer_incoming(listener)
        .map(|accepted| accepted.map(|stream| Connection::new(stream, "peer")));
    tasks.spawn("peer-listener", OnExit::StopNode, async move {
        if let Err(error) = router.serve_with_incoming(incoming).await {
            tracing::error!(%error, "the peer listener failed");
        }
    });
}

/// The metadata group hosts no partitions and grows slowly: by time alone.
fn checkpoint_metadata(consensus: &Arc<Consensus>, interval: Duration, tasks: &TaskGroup) {
    let consensus = Arc::clone(consensus);
    tasks.spawn("metadata", OnExit::StopNode, async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(group) = consensus.group(ShardId::METADATA) else { continue };
            if let Err(error) = group.checkpoint().await {
                tracing::warn!(%error, "checkpoint of the metadata group");
            }
        }
    });
}
