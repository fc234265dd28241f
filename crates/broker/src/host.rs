//! Which shards this node has open: those the image gives it a replica of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_consensus::InitializeError;
use quipu_metadata::{Image, ShardRecord};
use quipu_runtime::{Deadline, OnExit, TaskGroup};
use quipu_shard::Shard;
use quipu_types::{MoveId, NodeId, PartitionId, ReplicaId, ShardId};

use crate::broker::OpenShard;
use crate::{Broker, arrivals, compaction, coordinator, reconcile, replicas, retention};

/// The host looks again this often, for what no image announces.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a new group waits for its preferred leader to form it, before the next replica in
/// line does. Forming is the same act whoever does it.
const FORM_WAIT: Duration = Duration::from_secs(3);

/// How long the metadata group may take to say what is so.
const CONFIRM_WAIT: Duration = Duration::from_secs(2);

/// What runs beside an open shard, as tasks that end when it closes.
pub(crate) type Duties = fn(&Broker, &Shard, &TaskGroup);

/// All that a node does for a shard.
pub(crate) fn all_duties(broker: &Broker, shard: &Shard, tasks: &TaskGroup) {
    coordinator::start(broker, shard, tasks);
    members_only(broker, shard, tasks);
    let reconcile = reconcile::run(broker.clone(), shard.clone());
    tasks.spawn("reconcile", OnExit::StopNode, reconcile);
    let interval = broker.inner.retention_interval;
    let compaction = compaction::run(broker.clone(), shard.clone(), interval);
    tasks.spawn("compaction", OnExit::StopNode, compaction);
    let retention = retention::run(broker.clone(), shard.clone(), interval);
    tasks.spawn("retention", OnExit::StopNode, retention);
    let arrivals = arrivals::run(broker.clone(), shard.clone());
    tasks.spawn("arrivals", OnExit::StopNode, arrivals);
}

/// Brings the shard's members to where the image wants them.
pub(crate) fn members_only(broker: &Broker, shard: &Shard, tasks: &TaskGroup) {
    let members = replicas::run(broker.clone(), shard.clone());
    tasks.spawn("replicas", OnExit::StopNode, members);
}

/// Why shards of this node are not open yet, for health.
#[derive(Debug, Default)]
pub(crate) struct Hosting {
    failures: Mutex<BTreeMap<ShardId, String>>,
}

impl Hosting {
    /// Shards that could not be opened, with the reason.
    pub(crate) fn failures(&self) -> BTreeMap<ShardId, String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, shard: ShardId, failure: Option<String>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(reason) => failures.insert(shard, reason),
            None => failures.remove(&shard),
        };
    }
}

/// Opens and closes shards, and keeps connections to all nodes.
pub(crate) struct Host {
    broker: Broker,
    opener: Arc<dyn OpenShard>,
    duties: Duties,
    connected: BTreeSet<NodeId>,
    opened: BTreeMap<ShardId, Opened>,
    /// Whether nothing is left of replicas that are here no more.
    is_swept: bool,
}

/// A shard the host has opened.
struct Opened {
    /// When. Unit: since the clock's start.
    at: Duration,
    /// What keeps its partitions in line.
    tasks: TaskGroup,
}

impl Host {
    pub(crate) fn new(broker: Broker, opener: Arc<dyn OpenShard>, duties: Duties) -> Self {
        let (connected, opened) = (BTreeSet::new(), BTreeMap::new());
        Self { broker, opener, duties, connected, opened, is_swept: false }
    }

    /// Follows the image until cancelled.
    pub(crate) async fn run(mut self) {
        let mut images = self.broker.inner.metadata.watch();
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            self.connect(&image);
            self.close_removed(&image).await;
            self.open_new(&image).await;
            self.form_new(&image).await;
            self.evict_strays().await;
            self.broker.inner.metrics.retain(&image);
            // Nobody sends any more: the metadata group is gone, and so is the node.
            match tokio::time::timeout(INTERVAL, images.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(_)) => std::future::pending().await,
            }
        }
    }

    fn connect(&mut self, image: &Image) {
        for node in image.nodes.keys().filter(|node| **node != self.broker.inner.node) {
            if self.connected.insert(*node) {
                self.broker.inner.consensus.connect_peer(*node);
            }
        }
    }

    fn own_replica(&self, record: &ShardRecord) -> Option<ReplicaId> {
        record.replica_on(self.broker.inner.node)
    }

    async fn close_removed(&mut self, image: &Image) {
        for shard in self.broker.inner.shards.all() {
            let record = image.shards.get(&shard.id());
            let replica = record.and_then(|record| self.own_replica(record));
            if replica != Some(shard.group().replica()) {
                tracing::info!(shard = %shard.id(), "close a shard that this node hosts no more");
                if let Some(opened) = self.opened.remove(&shard.id()) {
                    opened.tasks.cancel();
                }
                coordinator::stop(&self.broker, shard.id());
                self.broker.inner.shards.remove(shard.id());
                let hosted = shard.hosted().into_iter();
                let partitions = hosted.map(|(id, hosted)| (id, hosted.tenure.arrived_by));
                let partitions = partitions.collect();
                shard.stop();
                self.broker.inner.consensus.close_group(shard.id()).await;
                self.is_swept &= self.evict(shard.id(), partitions).await;
            }
        }
    }

    /// Takes away what replicas left that are here no more: this process died before it could, or
    /// was not there when they left. The metadata group is asked first, for an old image does not
    /// know of new replicas.
    async fn evict_strays(&mut self) {
        if self.is_swept {
            return;
        }
        let residents = match self.opener.residents().await {
            Ok(residents) => residents,
            Err(error) => {
                tracing::warn!(%error, "what this node keeps cannot be listed; trying again");
                return;
            }
        };
        let deadline = Deadline::after(&self.broker.inner.clock, CONFIRM_WAIT);
        if !self.broker.confirm_image(deadline).await {
            return;
        }
        let image = self.broker.image();
        self.is_swept = true;
        for (shard, replica) in residents {
            let held = image.shards.get(&shard).and_then(|record| self.own_replica(record));
            let is_open = self.broker.inner.shards.get(shard).is_some();
            // One that is here again under another id is made room for when it opens.
            if held.is_none() && !is_open {
                tracing::info!(%shard, %replica, "what is left of a replica goes");
                self.is_swept &= self.evict(shard, Vec::new()).await;
            }
        }
    }

    async fn evict(&self, shard: ShardId, partitions: Vec<(PartitionId, Option<MoveId>)>) -> bool {
        let evicted = self.opener.evict(shard, partitions).await;
        if let Err(error) = &evicted {
            tracing::warn!(%shard, %error, "a replica's data is not gone yet");
        }
        evicted.is_ok()
    }

    async fn open_new(&mut self, image: &Image) {
        for (id, record) in &image.shards {
            let is_open = *id == ShardId::METADATA || self.broker.inner.shards.get(*id).is_some();
            let Some(replica) = self.own_replica(record).filter(|_| !is_open) else { continue };
            match self.opener.open(*id, replica).await {
                Ok(shard) => {
                    tracing::info!(shard = %id, %replica, "opened a shard");
                    self.broker.inner.hosting.set(*id, None);
                    self.broker.inner.shards.insert(shard.clone());
                    let tasks = self.broker.inner.tasks.child(&format!("shard-{id}"));
                    (self.duties)(&self.broker, &shard, &tasks);
                    let at = self.broker.inner.clock.monotonic();
                    self.opened.insert(*id, Opened { at, tasks });
                }
                Err(error) => {
                    tracing::error!(shard = %id, %error, "a shard cannot be opened; trying again");
                    self.broker.inner.hosting.set(*id, Some(error.to_string()));
                }
            }
        }
    }

    /// Forms groups that nobody has formed: the preferred leader at once, the others in turn.
    async fn form_new(&self, image: &Image) {
        for shard in self.broker.inner.shards.all() {
            let Some(record) = image.shards.get(&shard.id()) else { continue };
            if self.is_turn_to_form(&shard, record) {
                form(&shard, record).await;
            }
        }
    }

    fn is_turn_to_form(&self, shard: &Shard, record: &ShardRecord) -> bool {
        let is_formed = shard.group().is_initialized()
            || self.broker.inner.consensus.leader_hint(shard.id()).is_some();
        // Only those it was made with, and none that holds another's place by now.
        let own = (shard.group().replica(), self.broker.inner.node);
        let rank = record.founding.iter().position(|founding| *founding == own);
        let (Some(rank), Some(opened)) = (rank, self.opened.get(&shard.id())) else { return false };
        let waited = self.broker.inner.clock.monotonic().saturating_sub(opened.at);
        !is_formed && waited >= FORM_WAIT * u32::try_from(rank).unwrap_or(u32::MAX)
    }
}

async fn form(shard: &Shard, record: &ShardRecord) {
    let members = record.founding.clone();
    match shard.group().initialize(members).await {
        Ok(()) => tracing::info!(shard = %shard.id(), "formed a shard's group"),
        Err(InitializeError::Already) => {}
        Err(error @ (InitializeError::NotMember | InitializeError::Stopped)) => {
            tracing::warn!(shard = %shard.id(), %error, "a shard's group was not formed");
        }
    }
}
