//! One process: the real thing, from consensus down to the disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_consensus::{Consensus, Group, PeerIdentity, Role};
use quipu_kv::SimTables;
use quipu_runtime::{Clock, Fatal, FatalReceiver, OnExit, Rng, TaskGroup};
use quipu_shard::sim::SimShard;
use quipu_types::{ClusterId, DirectoryId, Incarnation, ShardId, StartHistory};

use super::census::Event;
use super::durable::Durable;
use super::ground::{Ground, replica_on};
use super::life::Life;
use super::net::Door;
use super::plant::Plant;
use super::witness::{Replica, Witness};
use crate::disk::SimDisk;
use crate::node::Node;
use crate::stop::{Step, Stop};

/// A running process.
pub(super) struct Process {
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
    rng: Mutex<Rng>,
}

/// A shard's replica in a process. Clones are the same one.
#[derive(Clone)]
pub(super) struct Hosted {
    pub(super) group: Group,
    pub(super) replica: Arc<Replica>,
    pub(super) consensus: Arc<Consensus>,
    pub(super) clock: Clock,
}

impl Process {
    /// Starts consensus, without any shard yet.
    pub(super) fn begin(ground: &Ground, node: Node, life: Life, rng: Rng) -> Self {
        let (reporter, fatal) = Fatal::new();
        let tasks = TaskGroup::root(&format!("node-{}", life.node()), reporter);
        let clock = Clock::fixed(0);
        let door = Arc::new(Door::new(ground.net.clone(), life.clone()));
        let identity = PeerIdentity {
            cluster: ClusterId::from_bytes([1; 16]),
            node: life.node(),
            directory: DirectoryId::from_bytes([2; 16]),
            incarnation: Incarnation::new(life.number()),
            starts: StartHistory::default(),
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
            rng: Mutex::new(rng),
        }
    }

    pub(super) const fn life(&self) -> &Life {
        &self.life
    }

    pub(super) const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(super) fn tables(&self) -> SimTables {
        self.tables.clone()
    }

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    pub(super) fn hosted(&self, shard: ShardId) -> Option<Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// Opens all shards, after a look at what the last process left of them.
    pub(super) async fn open(&self, durable: &Arc<Mutex<Durable>>) -> Step {
        for shard in self.ground.shards().collect::<Vec<_>>() {
            let hosted = tokio::select! {
                biased;
                reason = self.ended() => return Err(self.disk.stop(reason.unwrap_or_default())),
                hosted = self.open_shard(shard, durable) => hosted?,
            };
            self.tasks.spawn("role", OnExit::Log, follow_role(hosted.clone()));
            self.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, hosted);
        }
        let checkpoints = checkpoints(self.all_hosted(), self.ground.clone(), self.draw());
        self.tasks.spawn("checkpoints", OnExit::Log, checkpoints);
        Ok(())
    }

    fn all_hosted(&self) -> Vec<Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn open_shard(&self, shard: ShardId, durable: &Arc<Mutex<Durable>>) -> Step<Hosted> {
        let refused = |error: String| self.disk.stop(format!("shard {shard}: {error}"));
        let (witness, replica, journal) = {
            let node = self.node();
            let node = node.as_ref().ok_or(Stop::Fault)?;
            let opened = SimShard::open(node.shard_env(shard), shard).map_err(refused)?;
            let journal = node.journal.group(shard);
            let replica = Arc::new(Replica {
                shard,
                life: self.life.clone(),
                oracle: Arc::clone(self.ground.oracle(shard)),
                scene: self.ground.scene.clone(),
                durable: Arc::clone(durable),
                view: opened.view,
                disk: self.disk.clone(),
                visible: 0.into(),
            });
            let witness = Witness::new(
                opened.machine,
                Arc::clone(&replica),
                &journal,
                Rng::seeded(self.draw()),
            );
            (witness.map_err(Stop::Violation)?, replica, journal)
        };
        let id = replica_on(self.life.node());
        let group = self.consensus.open_group(shard, id, journal, Box::new(witness)).await;
        let group = group.map_err(|error| refused(error.to_string()))?;
        let (consensus, clock) = (Arc::clone(&self.consensus), self.clock.clone());
        Ok(Hosted { group, replica, consensus, clock })
    }

    /// Has the journal written and flushed.
    pub(super) fn flush(&self, durable: &Mutex<Durable>) -> Step {
        let node = self.node();
        let Some(node) = node.as_ref() else { return Ok(()) };
        node.step_journal()?;
        let mut durable = durable.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in self.ground.shards() {
            let journal = node.journal.group(shard);
            if self.ground.scene.has(Plant::TruncationIsForgotten) {
                durable.forgotten(shard).look(&journal);
            }
            if durable.flushed(&journal) {
                let event = format_args!("node {} shard {shard} lost its tail", self.life.node());
                self.ground.scene.count(Event::Truncated, event);
            }
        }
        Ok(())
    }

    /// Ends it as its journal would.
    pub(super) fn fail(&self, stop: &Stop) {
        self.tasks.fatal().stop_node(match stop {
            Stop::Fault => "the journal failed",
            Stop::Violation(what) => what,
        });
    }

    /// Waits for its end; says why, if it ended by itself.
    pub(super) async fn ended(&self) -> Option<String> {
        let mut fatal = self.fatal.clone();
        tokio::select! {
            biased;
            () = self.life.over() => None,
            reason = fatal.wait() => Some(reason),
        }
    }

    /// Stops what runs, in order.
    pub(super) async fn shut_down(&self) {
        self.consensus.shutdown().await;
    }

    /// Takes what is left of it apart, after its life.
    pub(super) fn tear_down(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
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
async fn checkpoints(all: Vec<Hosted>, ground: Ground, seed: u64) {
    let mut rng = Rng::seeded(seed);
    let mut purged = BTreeMap::new();
    loop {
        for Hosted { group, replica, .. } in &all {
            tokio::time::sleep(Duration::from_millis(rng.below(ground.plan.checkpoint_ms))).await;
            let upto = group.positions().purged;
            if upto > purged.insert(group.shard(), upto).flatten() {
                replica.purged();
            }
            let done = group.checkpoint().await;
            replica.checkpoint_is_over(done.map_err(|error| error.to_string()).map(drop));
        }
    }
}
