//! The other nodes: who is connected, who was heard when, who leads what.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "sim")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use quipu_runtime::{Clock, OnExit, TaskGroup};
use quipu_types::{ClusterId, NodeId, ReplicaId, ShardId, Term};
use tokio::sync::Notify;

use crate::carrier::{Carrier, Connector, Tcp};
use crate::config::Config;
use crate::dial;
use crate::disk_space::{DiskRoom, DiskSpace};
use crate::identity::{
    AddressBook, Hello, HelloPolicy, MembersOnly, PeerIdentity, Rejection, judge,
};
use crate::metrics::TrafficMetrics;
use crate::pace::Pace;
use crate::status::LeaderHint;

mod peer;

pub(crate) use peer::Peer;
pub use peer::PeerStatus;

/// All peers of a node, and its own identity.
pub(crate) struct Peers {
    config: Config,
    identity: ArcSwap<PeerIdentity>,
    policy: RwLock<Arc<dyn HelloPolicy>>,
    connector: RwLock<Arc<dyn Connector>>,
    addresses: Arc<dyn AddressBook>,
    clock: Clock,
    tasks: TaskGroup,
    known: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    hints: Mutex<BTreeMap<ShardId, LeaderHint>>,
    /// Someone came or went.
    changed: Notify,
    /// A beat is due before its time.
    beat: Notify,
    traffic: TrafficMetrics,
    /// What snapshots go at, and the log to replicas that do not vote yet.
    pub(crate) pace: Pace,
    /// Replicas without a vote.
    newcomers: Mutex<BTreeSet<(ShardId, ReplicaId)>>,
    disk: Arc<DiskSpace>,
    #[cfg(feature = "sim")]
    restores_leaders: AtomicBool,
}

impl Peers {
    pub(crate) fn new(
        config: Config,
        identity: PeerIdentity,
        addresses: Arc<dyn AddressBook>,
        clock: Clock,
        tasks: TaskGroup,
    ) -> Arc<Self> {
        let pace = Pace::new(config.catch_up_rate);
        Arc::new(Self {
            config,
            identity: ArcSwap::from_pointee(identity),
            policy: RwLock::new(Arc::new(MembersOnly)),
            connector: RwLock::new(Arc::new(Tcp)),
            addresses,
            clock,
            tasks,
            known: RwLock::default(),
            hints: Mutex::default(),
            changed: Notify::new(),
            beat: Notify::new(),
            traffic: TrafficMetrics::new(),
            pace,
            newcomers: Mutex::default(),
            disk: Arc::default(),
            #[cfg(feature = "sim")]
            restores_leaders: AtomicBool::new(false),
        })
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// What openraft is told.
    pub(crate) fn raft_config(&self) -> Result<Arc<openraft::Config>, String> {
        let config = self.config.raft()?;
        #[cfg(feature = "sim")]
        if self.restores_leaders.load(Ordering::Relaxed) {
            let enable_leader_restore = Some(true);
            return Ok(Arc::new(openraft::Config { enable_leader_restore, ..(*config).clone() }));
        }
        Ok(config)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn restore_leaders(&self) {
        self.restores_leaders.store(true, Ordering::Relaxed);
    }

    /// Who follows a shard without a vote: what it lacks makes way for appends.
    pub(crate) fn set_newcomers(&self, shard: ShardId, replicas: impl Iterator<Item = ReplicaId>) {
        let mut newcomers = self.newcomers();
        newcomers.retain(|(of, _)| *of != shard);
        newcomers.extend(replicas.map(|replica| (shard, replica)));
    }

    pub(crate) fn is_newcomer(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.newcomers().contains(&(shard, replica))
    }

    fn newcomers(&self) -> MutexGuard<'_, BTreeSet<(ShardId, ReplicaId)>> {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room on this node's disk.
    pub(crate) const fn disk(&self) -> &Arc<DiskSpace> {
        &self.disk
    }

    /// Whether a node is short of disk, as it said last.
    pub(crate) fn is_short_of_disk(&self, node: NodeId) -> bool {
        if node == self.node() {
            return self.disk.measured_room() != DiskRoom::Enough;
        }
        self.peer(node).is_some_and(|peer| peer.health().is_short_of_disk)
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) const fn tasks(&self) -> &TaskGroup {
        &self.tasks
    }

    pub(crate) const fn traffic(&self) -> &TrafficMetrics {
        &self.traffic
    }

    pub(crate) fn identity(&self) -> Arc<PeerIdentity> {
        self.identity.load_full()
    }

    pub(crate) fn node(&self) -> NodeId {
        self.identity.load().node
    }

    pub(crate) fn adopt_cluster(&self, cluster: ClusterId) {
        self.identity.store(Arc::new(PeerIdentity { cluster, ..(*self.identity()).clone() }));
    }

    pub(crate) fn set_policy(&self, policy: Arc<dyn HelloPolicy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    pub(crate) fn set_connector(&self, connector: Arc<dyn Connector>) {
        *self.connector.write().unwrap_or_else(PoisonError::into_inner) = connector;
    }

    /// A new connection to the listener at `address`.
    pub(crate) fn connect(
        &self,
        address: String,
    ) -> impl Future<Output = Result<Carrier, String>> + Send + use<> {
        let connector = self.connector.read().unwrap_or_else(PoisonError::into_inner);
        connector.connect(address, &self.config)
    }

    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.addresses.address(node)
    }

    /// This node's hello to another.
    pub(crate) fn hello(&self, receiver: NodeId) -> Hello {
        Hello { sender: (*self.identity()).clone(), receiver }
    }

    /// Judges a hello and remembers the verdict. An answer to this node's own hello is judged as
    /// if it were one: who may not call is not to be called.
    pub(crate) fn judge(&self, hello: &Hello) -> Result<(), Rejection> {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        let verdict = judge(&self.identity(), hello, policy.as_ref());
        if let Err(rejection) = &verdict {
            tracing::warn!(node = %hello.sender.node, %rejection, "turned a peer away");
        }
        if let Some(peer) = self.peer(hello.sender.node) {
            peer.set_rejected(verdict.as_ref().err().map(ToString::to_string));
        }
        verdict
    }

    /// A peer that is kept connected, if it is.
    pub(crate) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Every peer, in order of node id.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Keeps a connection to a node from now on; `None` for this node itself.
    pub(crate) fn keep(self: &Arc<Self>, node: NodeId) -> Option<Arc<Peer>> {
        if node == self.node() {
            return None;
        }
        if let Some(peer) = self.peer(node) {
            return Some(peer);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = known.get(&node) {
            return Some(Arc::clone(peer));
        }
        let peer = Arc::new(Peer::new(node));
        known.insert(node, Arc::clone(&peer));
        drop(known);
        let dialer = dial::keep_connected(Arc::clone(self), Arc::clone(&peer));
        self.tasks.spawn(&format!("dial-{node}"), OnExit::StopNode, dialer);
        Some(peer)
    }

    /// Whether a node answers: itself, or reached by this node's own connection and heard lately.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        let answers = |peer: &Peer| peer.link().is_some() && self.hears(peer);
        node == self.node() || self.peer(node).is_some_and(|peer| answers(&peer))
    }

    /// Whether a node was heard once and is no more: both connections are broken, or silent.
    pub(crate) fn is_lost(&self, node: NodeId) -> bool {
        self.peer(node).is_some_and(|peer| peer.was_heard() && !self.hears(&peer))
    }

    fn hears(&self, peer: &Peer) -> bool {
        let now = self.clock.monotonic();
        let silence_max = self.config.silence_max;
        let is_connected = peer.link().is_some();
        let health = peer.health();
        (is_connected || health.incoming > 0)
            && health.last_heard.is_some_and(|at| now.saturating_sub(at) <= silence_max)
    }

    /// Nodes that were heard once and are no more.
    pub(crate) fn lost(&self) -> BTreeSet<NodeId> {
        let all = self.all();
        let lost = all.iter().filter(|peer| peer.was_heard() && !self.hears(peer));
        lost.map(|peer| peer.node()).collect()
    }

    /// Whether `witness` reported that it hears `node` no more.
    pub(crate) fn reports_lost(&self, witness: NodeId, node: NodeId) -> bool {
        self.peer(witness).is_some_and(|peer| peer.health().lost.contains(&node))
    }

    /// Takes a beat in.
    pub(crate) fn take_beat(
        &self,
        peer: &Peer,
        (lost, is_short_of_disk): (BTreeSet<NodeId>, bool),
        leads: impl Iterator<Item = Leads>,
    ) {
        let is_news = {
            let mut health = peer.health();
            let is_news = health.lost != lost;
            health.lost = lost;
            health.is_short_of_disk = is_short_of_disk;
            is_news
        };
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        for Leads { shard, term } in leads {
            let hint = LeaderHint { node: peer.node(), term };
            let known = hints.entry(shard).or_insert(hint);
            if term >= known.term {
                *known = hint;
            }
        }
        drop(hints);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// Who was last heard to lead a shard.
    pub(crate) fn hint(&self, shard: ShardId) -> Option<LeaderHint> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    /// A connection came or went.
    pub(crate) fn note_change(&self) {
        self.changed.notify_one();
        self.beat.notify_one();
    }

    /// Waits for the next change among the peers. For one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has the next beat sent at once.
    pub(crate) fn beat_now(&self) {
        self.beat.notify_one();
    }

    /// Waits until a beat is wanted before its time. For one waiter.
    pub(crate) async fn beat_wanted(&self) {
        self.beat.notified().await;
    }

    pub(crate) fn statuses(&self) -> Vec<PeerStatus> {
        self.all().iter().map(|peer| peer.status()).collect()
    }
}

/// One shard that a peer says it leads.
pub(crate) struct Leads {
    pub(crate) shard: ShardId,
    pub(crate) term: Term,
}
