//! One Raft group's replica on this node: propose, read, hand over, checkpoint.

use std::fmt;
use std::sync::{Arc, Mutex};

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use quipu_journal::GroupJournal;
use quipu_types::{NodeId, ReplicaId, ShardId};
use tokio::sync::watch;

use crate::config::Config;
use crate::log_store::LogWeight;
use crate::machine::{Applier, Machine};
use crate::metrics::GroupMetrics;
use crate::peers::Peers;
use crate::status::{self, GroupStatus, Leadership, Positions, Role};
use crate::type_config::TypeConfig;

mod checkpoint;
mod members;
mod propose;
mod supervise;
mod transfer;

pub use propose::{COMMAND_BYTES_MAX, Proposed};
pub(crate) use supervise::supervise;

/// A handle to one group. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    shard: ShardId,
    replica: ReplicaId,
    raft: Raft<TypeConfig, Applier>,
    status: watch::Sender<GroupStatus>,
    machine: Machine,
    journal: GroupJournal,
    weight: Arc<Mutex<LogWeight>>,
    checkpointing: tokio::sync::Mutex<()>,
    peers: Arc<Peers>,
    config: Config,
    metrics: GroupMetrics,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("shard", &self.inner.shard)
            .field("replica", &self.inner.replica)
            .finish_non_exhaustive()
    }
}

/// What a group is made of.
pub(crate) struct Parts {
    pub(crate) shard: ShardId,
    pub(crate) replica: ReplicaId,
    pub(crate) raft: Raft<TypeConfig, Applier>,
    pub(crate) machine: Machine,
    pub(crate) journal: GroupJournal,
    pub(crate) weight: Arc<Mutex<LogWeight>>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) config: Config,
}

impl Group {
    pub(crate) fn new(parts: Parts) -> Self {
        let status = watch::Sender::new(GroupStatus::unknown());
        let inner = Inner {
            shard: parts.shard,
            replica: parts.replica,
            raft: parts.raft,
            status,
            machine: parts.machine,
            journal: parts.journal,
            weight: parts.weight,
            checkpointing: tokio::sync::Mutex::new(()),
            peers: parts.peers,
            config: parts.config,
            metrics: GroupMetrics::new(parts.shard),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn raft(&self) -> &Raft<TypeConfig, Applier> {
        &self.inner.raft
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.inner.machine
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.inner.shard
    }

    /// This replica.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.inner.replica
    }

    /// Follows the standing; see [`GroupStatus`] for what wakes a watcher.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<GroupStatus> {
        self.inner.status.subscribe()
    }

    /// Where the log stands right now.
    #[must_use]
    pub fn positions(&self) -> Positions {
        status::positions(&self.inner.raft.metrics().borrow_watched())
    }

    /// Proof of leadership, while this replica leads.
    #[must_use]
    pub fn leadership(&self) -> Option<Leadership> {
        let status = self.inner.status.borrow();
        let leads = matches!(status.role, Role::Leader { .. });
        leads.then(|| Leadership::new(self.inner.shard, status.term))
    }

    /// The leader's node, if it is another one.
    fn other_leader(&self) -> Option<NodeId> {
        let own = self.inner.peers.node();
        let leader = self.inner.status.borrow().leader.map(|(_, node)| node);
        leader.filter(|node| *node != own)
    }

    /// Stops taking part. Returns once nothing of the group runs any more: what it stored may go.
    pub async fn shutdown(&self) {
        self.inner.status.send_modify(|status| status.role = Role::Stopped);
        if self.inner.raft.shutdown().await.is_err() {
            tracing::warn!(shard = %self.inner.shard, "raft had ended before its shutdown");
        }
        self.inner.machine.close().await;
    }
}
