//! One process: the real thing, from consensus down to the disk.

mod joining;
mod opener;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use quipu_broker::{Broker, BrokerEnv};
use quipu_consensus::{Consensus, Group, PeerIdentity, Role};
use quipu_kv::SimTables;
use quipu_metadata::{Metadata, sim};
use quipu_runtime::{Clock, Fatal, FatalReceiver, OnExit, Rng, TaskGroup};
use quipu_shard::sim::SimShard;
use quipu_shard::{Shard, Shards};
use quipu_types::{Incarnation, ReplicaId, ShardId};
use tokio::sync::watch;

use super::census::Event;
use super::durable::Durable;
use super::ground::{CLUSTER, Ground, directory_of, replica_on};
use super::life::Life;
use super::net::Door;
use super::plant::Plant;
use super::witness::{Replica, Witness};
use crate::disk::SimDisk;
use crate::l2::Floor;
use crate::node::Node;
use crate::stop::{Step, Stop};

/// A running process.
pub(crate) struct Process {
    ground: Ground,
    life: Life,
    /// None once it was torn down: dropping it closes the journal.
    node: Mutex<Option<Node>>,
    disk: SimDisk,
    tables: SimTables,
    consensus: Arc<Consensus>,
    clock: Clock,
    tasks: TaskGroup,
    fatal: FatalReceiver,
    hosted: Mutex<BTreeMap<ShardId, Hosted>>,
    /// How many are.
    count: watch::Sender<usize>,
    metadata: OnceLock<Metadata>,
    broker: OnceLock<Broker>,
    rng: Mutex<Rng>,
}

/// A shard's replica in a process. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Hosted {
    pub(crate) group: Group,
    pub(crate) replica: Arc<Replica>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) clock: Clock,
    /// What its broker holds, where there is one.
    pub(crate) shard: Option<Shard>,
}

impl Process {
    /// Starts consensus, without any shard yet.
    pub(crate) fn begin(ground: &Ground, node: Node, life: Life, rng: Rng) -> Self {
        let (reporter, fatal) = Fatal::new();
        let tasks = TaskGroup::root(&format!("node-{}", life.node()), reporter);
        let clock =
            ground.floor.as_ref().map_or_else(|| Clock::fixed(0), |floor| floor.clock(life.node()));
        let door = Arc::new(Door::new(ground.net.clone(), life.clone()));
        let identity = PeerIdentity {
            cluster: CLUSTER,
            node: life.node(),
            directory: directory_of(life.node()),
            incarnation: Incarnation::new(life.number()),
            starts: joining::starts(&life),
        };
        let config = ground.plan.consensus.clone();
        let addresses = Arc::clone(&door);
        let consensus = Consensus::new(config, identity, addresses, clock.clone(), &tasks);
        consensus.set_connector(door);
        if ground.scene.has(Plant::LeadersAreRestored) {
            consensus.restore_leaders();
        }
        ground.net.listen(&life, consensus.peer_service());
        let (disk, tables) = (node.disk.clone(), node.tables.clone());
        Self {
            ground: ground.clone(),
            life,
            node: Mutex::new(Some(node)),
            disk,
            tables,
            consensus,
            clock,
            tasks,
            fatal,
            hosted: Mutex::default(),
            count: watch::Sender::new(0),
            metadata: OnceLock::new(),
            broker: OnceLock::new(),
            rng: Mutex::new(rng),
        }
    }

    pub(crate) const fn life(&self) -> &Life {
        &self.life
    }

    pub(crate) const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(crate) fn tables(&self) -> SimTables {
        self.tables.clone()
    }

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    pub(crate) fn hosted(&self, shard: ShardId) -> Option<Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// The broker, where there is one and it has started.
    pub(crate) fn broker(&self) -> Option<Broker> {
        self.broker.get().cloned()
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The tasks that end with it.
    pub(crate) const fn tasks(&self) -> &TaskGroup {
        &self.tasks
    }

    /// Opens all shards, after a look at what the last process left of them.
    pub(crate) async fn open(self: &Arc<Self>, durable: &Arc<Mutex<Durable>>) -> Step {
        match self.ground.floor.clone() {
            Some(floor) => self.open_by_broker(&floor, durable).await?,
            None if self.ground.plan.moves.is_some() => self.join(durable).await?,
            None => {
                let own = replica_on(self.life.node());
                for shard in self.ground.shards().collect::<Vec<_>>() {
                    tokio::select! {
                        biased;
                        reason = self.ended() => {
                            return Err(self.disk.stop(reason.unwrap_or_default()));
                        }
                        hosted = self.host(shard, own, durable) => drop(hosted?),
                    }
                }
            }
        }
        let checkpoints = checkpoints(Arc::downgrade(self), self.draw());
        self.tasks.spawn("checkpoints", OnExit::Log, checkpoints);
        Ok(())
    }

    /// Starts the broker, which opens the shards that its image names.
    async fn open_by_broker(
        self: &Arc<Self>,
        floor: &Arc<Floor>,
        durable: &Arc<Mutex<Durable>>,
    ) -> Step {
        let node = self.life.node();
        self.tasks.spawn("wall clock", OnExit::Log, floor.run_clock(node, self.clock.clone()));
        let opener = opener::Opener { process: Arc::downgrade(self), durable: Arc::clone(durable) };
        let (consensus, clock) = (Arc::clone(&self.consensus), self.clock.clone());
        let broker = Broker::start(BrokerEnv {
            node,
            metadata: sim::fixed(floor.image(), Arc::clone(&consensus), clock.clone()),
            consensus,
            shards: Shards::new(),
            opener: Arc::new(opener),
            retention_interval: floor.retention_interval(),
            scrub_interval: Duration::ZERO,
            clock,
            tasks: self.tasks.clone(),
        });
        let _ = self.broker.set(broker);
        let mut count = self.count.subscribe();
        let all = self.ground.shards().count();
        tokio::select! {
            biased;
            reason = self.ended() => Err(self.disk.stop(reason.unwrap_or_default())),
            _ = count.wait_for(|count| *count == all) => Ok(()),
        }
    }

    /// Opens a shard's replica.
    async fn host(
        &self,
        shard: ShardId,
        id: ReplicaId,
        durable: &Arc<Mutex<Durable>>,
    ) -> Step<Hosted> {
        let hosted = self.open_shard(shard, id, durable).await?;
        self.tasks.spawn("role", OnExit::Log, follow_role(hosted.clone()));
        self.misbehave(&hosted).await;
        let mut all = self.hosted.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(shard, hosted.clone());
        self.count.send_replace(all.len());
        Ok(hosted)
    }

    /// A replica was closed, for good.
    fn forget(&self, shard: ShardId) {
        let gone = self.hosted.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        if let Some(gone) = gone {
            gone.replica.has_left.store(true, Ordering::Relaxed);
        }
    }

    /// Counts the snapshots that do not come any more.
    pub(crate) fn count_unfed(&self) {
        for hosted in self.all_hosted() {
            if hosted.replica.is_fed.swap(false, Ordering::Relaxed) {
                let (node, shard) = (self.life.node(), hosted.replica.shard);
                let event = format_args!("node {node} shard {shard} was receiving a snapshot");
                self.ground.scene.count(Event::FeedCutShort, event);
            }
        }
    }

    /// What is left on its disk of a shard that it does not hold: there must be nothing. Partitions
    /// that no checkpoint ever knew may be there: they are cut when they are opened again.
    pub(crate) fn leftovers(&self, shard: ShardId) -> Vec<String> {
        let node = self.node();
        let Some(node) = node.as_ref() else { return Vec::new() };
        let files = node.staged_of(shard).into_iter().map(|path| path.display().to_string());
        let journal = node.journal.groups().contains(&shard).then(|| "the journal".to_owned());
        let notes = node.residence(shard).residents().unwrap_or_default();
        let note = notes.into_iter().find(|(of, _)| *of == shard);
        files.chain(journal).chain(note.map(|(_, id)| format!("a note of {id}"))).collect()
    }

    /// What is to be checkpointed next; the metadata group has no replica that is watched.
    fn due(&self) -> Vec<(Group, Option<Arc<Replica>>)> {
        let hosted = self.all_hosted().into_iter();
        let hosted = hosted.map(|hosted| (hosted.group, Some(hosted.replica)));
        let metadata = self.consensus.group(ShardId::METADATA).map(|group| (group, None));
        hosted.chain(metadata).collect()
    }

    fn all_hosted(&self) -> Vec<Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn open_shard(
        &self,
        shard: ShardId,
        id: ReplicaId,
        durable: &Arc<Mutex<Durable>>,
    ) -> Step<Hosted> {
        let refused = |error: String| self.disk.stop(format!("shard {shard}: {error}"));
        let opens = self.ground.replicas.opens(shard, id, self.life.node());
        opens.map_err(Stop::Violation)?;
        let (witness, replica, journal, view) = {
            let node = self.node();
            let node = node.as_ref().ok_or(Stop::Fault)?;
            let opened = SimShard::open(node.shard_env(shard), shard).map_err(refused)?;
            let view = opened.view.clone();
            let journal = node.journal.group(shard);
            let replica = Arc::new(Replica {
                shard,
                id,
                life: self.life.clone(),
                oracle: Arc::clone(self.ground.oracle(shard)),
                scene: self.ground.scene.clone(),
                durable: Arc::clone(durable),
                replicas: self.ground.replicas.clone(),
                view: opened.view,
                disk: self.disk.clone(),
                visible: 0.into(),
                has_left: false.into(),
                is_fed: false.into(),
            });
            let witness = Witness::new(
                opened.machine,
                Arc::clone(&replica),
                &journal,
                Rng::seeded(self.draw()),
            );
            (witness.map_err(Stop::Violation)?, replica, journal, view)
        };
        let group = self.consensus.open_group(shard, id, journal, Box::new(witness)).await;
        let group = group.map_err(|error| refused(error.to_string()))?;
        let (consensus, clock) = (Arc::clone(&self.consensus), self.clock.clone());
        let around =
            || view.shard(group.clone(), Arc::clone(&consensus), clock.clone(), &self.tasks);
        let has_broker = self.ground.floor.is_some() || self.ground.plan.moves.is_some();
        let shard = has_broker.then(around);
        Ok(Hosted { group, replica, consensus, clock, shard })
    }

    /// Has the journal written and flushed.
    pub(crate) fn flush(&self, durable: &Mutex<Durable>) -> Step {
        {
            let node = self.node();
            let Some(node) = node.as_ref() else { return Ok(()) };
            node.step_journal()?;
        }
        self.look(&mut durable.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Looks at the journal, all of which is durable.
    fn look(&self, durable: &mut Durable) {
        let node = self.node();
        let Some(node) = node.as_ref().filter(|_| !self.life.is_over()) else { return };
        for Hosted { replica, .. } in self.all_hosted() {
            let shard = replica.shard;
            let journal = node.journal.group(shard);
            if self.ground.scene.has(Plant::TruncationIsForgotten) {
                durable.forgotten(shard).look(&journal);
            }
            if durable.flushed(&journal) {
                let event = format_args!("node {} shard {shard} lost its tail", self.life.node());
                self.ground.scene.count(Event::Truncated, event);
            }
            let entries = journal.state().last.map_or(0, |last| last.index.get() + 1);
            self.ground.replicas.reached(shard, replica.id, entries);
        }
    }

    /// Ends it as its journal would.
    pub(crate) fn fail(&self, stop: &Stop) {
        self.tasks.fatal().stop_node(match stop {
            Stop::Fault => "the journal failed",
            Stop::Violation(what) => what,
        });
    }

    /// Waits for its end; says why, if it ended by itself.
    pub(crate) async fn ended(&self) -> Option<String> {
        let mut fatal = self.fatal.clone();
        tokio::select! {
            biased;
            () = self.life.over() => None,
            reason = fatal.wait() => Some(reason),
        }
    }

    /// Stops what runs, in order.
    pub(crate) async fn shut_down(&self) {
        self.consensus.shutdown().await;
    }

    /// Takes what is left of it apart, after its life.
    pub(crate) fn tear_down(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        self.tasks.cancel();
        // Whoever waits for the journal hears that it is closed.
        drop(self.node().take());
        async move { self.consensus.shutdown().await }
    }
}

/// Tells the oracle who leads.
async fn follow_role(hosted: Hosted) {
    let Hosted { group, replica, .. } = hosted;
    let mut status = group.status();
    let mut led = None;
    loop {
        let (role, term) = {
            let status = status.borrow_and_update();
            (status.role, status.term)
        };
        if role == Role::Stopped {
            return;
        }
        let leads = matches!(role, Role::Leader { .. });
        if leads && led != Some(term) {
            led = Some(term);
            replica.leads(term);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Checkpoints all shards, again and again.
async fn checkpoints(process: Weak<Process>, seed: u64) {
    let mut rng = Rng::seeded(seed);
    let mut purged = BTreeMap::new();
    loop {
        let due = process.upgrade().map(|it| (it.due(), it.ground.plan.checkpoint_ms));
        let Some((all, most_ms)) = due else { return };
        if all.is_empty() {
            tokio::time::sleep(Duration::from_millis(most_ms)).await;
        }
        for (group, replica) in all {
            tokio::time::sleep(Duration::from_millis(rng.below(most_ms))).await;
            let upto = group.positions().purged;
            let done = group.checkpoint().await;
            // Whoever closed it wants no checkpoint.
            let has_stopped = group.status().borrow().role == Role::Stopped;
            let Some(replica) = replica.filter(|_| !has_stopped) else { continue };
            if upto > purged.insert(group.shard(), upto).flatten() {
                replica.purged();
            }
            replica.checkpoint_is_over(done.map_err(|error| error.to_string()).map(drop));
        }
    }
}
