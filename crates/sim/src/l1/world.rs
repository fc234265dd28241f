//! A run: nodes come up, clients work while things break, all is mended, nothing may be missing.

use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::ChangeMembersError;
use quipu_metadata::ShardRecord;
use quipu_runtime::{Fatal, Rng, TaskGroup};
use quipu_types::{NodeId, ReplicaId, ShardId};
use tokio_util::sync::CancellationToken;

use super::census::Event;
use super::client::{Client, is_ready};
use super::ground::Ground;
use super::host::Host;
use super::mover::Mover;
use super::nemesis::Nemesis;
use super::net::Net;
use super::plan::Plan;
use super::process::Hosted;
use super::scene::Scene;
use crate::commands;
use crate::l2::Floor;
use crate::node::End;

/// How long a healthy cluster may take to work again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(40);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A cluster under one seed.
pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) hosts: Arc<Vec<Host>>,
    pub(crate) rng: Rng,
}

impl World {
    pub(crate) fn new(seed: u64, scene: Scene) -> Self {
        let mut rng = Rng::seeded(seed ^ 0x11_5EED);
        let plan = Plan::draw(&mut rng);
        scene.note(format_args!("seed {seed}: {plan:?}"));
        Self::of(plan, rng, scene, None)
    }

    /// A cluster of this plan.
    pub(crate) fn of(plan: Plan, mut rng: Rng, scene: Scene, floor: Option<Arc<Floor>>) -> Self {
        let (fatal, _) = Fatal::new();
        let tasks = TaskGroup::root("simulator", fatal);
        let net_rng = Rng::seeded(rng.next_u64());
        let net = Net::new(net_rng, plan.weather, scene.clone(), tasks.clone());
        let ground = Ground::new(scene, Arc::new(plan), net, tasks, floor);
        let hosts =
            ground.nodes().map(|node| Host::new(node, ground.clone(), Rng::seeded(rng.next_u64())));
        let hosts = Arc::new(hosts.collect());
        Self { ground, hosts, rng }
    }

    /// Runs to the end, or to the first violation.
    pub(crate) async fn run(mut self) {
        let scene = self.ground.scene.clone();
        tokio::select! {
            biased;
            () = scene.over() => {}
            () = self.phases() => {}
        }
    }

    /// Starts all nodes.
    pub(crate) fn start(&self) {
        for host in self.hosts.iter() {
            self.ground.spawn("host", host.clone().keep_running());
        }
    }

    async fn phases(&mut self) {
        self.start();
        self.form().await;
        Box::pin(self.load()).await;
        self.recover("after the load").await;
        if self.ground.plan.has_last_blackout {
            self.ground.scene.count(Event::Blackout, format_args!("the power goes everywhere"));
            self.hosts.iter().for_each(|host| host.crash(End::PowerCut));
            self.recover("after the last blackout").await;
        }
    }

    /// Forms every shard out of its members; where replicas move, their brokers do it.
    pub(crate) async fn form(&mut self) {
        if self.ground.plan.moves.is_some() {
            self.form_metadata().await;
            return self.all_are_there().await;
        }
        for shard in self.ground.shards().collect::<Vec<_>>() {
            let which = self.rng.below(self.ground.plan.nodes);
            let host = self.hosts[usize::try_from(which).expect("few")].clone();
            let members = self.ground.members();
            let hosted = self.until("a start", || host.hosted(shard)).await;
            if let Some(hosted) = hosted
                && let Err(error) = hosted.group.initialize(members).await
            {
                self.ground.scene.violated(format!("shard {shard} is not formed: {error}"));
            }
        }
        self.all_are_there().await;
    }

    /// Has all nodes follow the metadata group. Its leader refuses while it has heard too little of
    /// the others, and may be another by the time it is asked.
    async fn form_metadata(&self) {
        let forming = async {
            while let Err(error) = self.add_followers().await {
                let event = format_args!("the metadata group lacks followers: {error}");
                self.ground.scene.note(event);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(RECOVERS_WITHIN, forming).await.is_err() {
            self.ground.scene.violated("the metadata group has no followers");
        }
    }

    async fn add_followers(&self) -> Result<(), ChangeMembersError> {
        let controls = || {
            let processes = self.hosts.iter().filter_map(Host::process);
            processes.into_iter().find(|process| process.is_controller())
        };
        match self.until("the metadata group", controls).await {
            Some(controller) => controller.add_followers().await,
            None => Ok(()),
        }
    }

    /// The nodes that are to hold a shard, with their replicas.
    fn wanted(&self, shard: ShardId) -> Vec<(ReplicaId, NodeId)> {
        if self.ground.plan.moves.is_none() {
            return self.ground.members();
        }
        self.ground.replicas.record(shard).map_or_else(Vec::new, |record| record.replicas)
    }

    /// All nodes run, and all shards are led.
    pub(crate) async fn all_are_there(&self) {
        self.until("all nodes and leaders", || {
            let up = |shard| {
                let wanted = self.wanted(shard);
                let hosts = self.hosts.iter().filter(|host| holds(&wanted, host.id()));
                !wanted.is_empty() && hosts.into_iter().all(|host| host.hosted(shard).is_some())
            };
            let led = |shard| self.leader(shard).is_some();
            self.ground.shards().all(|shard| up(shard) && led(shard)).then_some(())
        })
        .await;
    }

    /// Clients work, and things break.
    async fn load(&mut self) {
        let stop = CancellationToken::new();
        self.hosts.iter().for_each(|host| host.set_calm(false));
        let draw = |rng: &mut Rng| Rng::seeded(rng.next_u64());
        let mut working = Vec::new();
        for _ in 0..self.ground.plan.clients {
            let hosts = Arc::clone(&self.hosts);
            let client = Client::new(self.ground.clone(), hosts, draw(&mut self.rng));
            working.push(client.work(stop.clone()));
        }
        let hosts = Arc::clone(&self.hosts);
        let rng = draw(&mut self.rng);
        let nemesis = Nemesis::new(self.ground.clone(), hosts, rng, stop.clone());
        let moving = self.ground.plan.moves.map(|moves| {
            let (ground, hosts) = (self.ground.clone(), Arc::clone(&self.hosts));
            let rng = draw(&mut self.rng);
            let ambush = Nemesis::new(ground.clone(), hosts.clone(), rng, stop.clone()).ambush();
            let mover = Mover::new(ground, hosts, draw(&mut self.rng), moves.pause_ms);
            futures::future::join(ambush, mover.work(stop.clone()))
        });
        let moving = futures::future::OptionFuture::from(moving);
        let ends = async {
            tokio::time::sleep(self.ground.plan.load).await;
            self.ground.scene.note(format_args!("all is mended"));
            stop.cancel();
            self.hosts.iter().for_each(|host| host.set_calm(true));
        };
        futures::join!(futures::future::join_all(working), nemesis.work(), moving, ends);
    }

    /// A healthy cluster serves again, all replicas agree, and nothing is missing.
    async fn recover(&mut self, when: &str) {
        for shard in self.ground.shards().collect::<Vec<_>>() {
            self.probe(shard, when).await;
        }
        self.agree(when).await;
    }

    /// All replicas have applied the same, and nothing is missing.
    pub(crate) async fn agree(&self, when: &str) {
        for shard in self.ground.shards().collect::<Vec<_>>() {
            if self.ground.plan.moves.is_some() {
                self.settle(shard, when).await;
            }
            let level = self.until("all replicas to agree", || self.level(shard)).await;
            for hosted in level.into_iter().flatten() {
                let applied = hosted.replica.visible.load(std::sync::atomic::Ordering::Relaxed);
                self.ground.scene.expect(self.ground.lock(shard).check_end(applied));
                self.ground.scene.expect(hosted.replica.compare(applied));
            }
        }
        self.ground.scene.note(format_args!("all is well {when}"));
    }

    /// Waits until a shard is where its record wants it.
    pub(crate) async fn settle(&self, shard: ShardId, when: &str) {
        let settling = async {
            while self.check_settled(shard).is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(RECOVERS_WITHIN, settling).await.is_err()
            && let Err(what) = self.check_settled(shard)
        {
            self.ground.scene.violated(format!("shard {shard} is not settled {when}: {what}"));
        }
    }

    /// A proposal is acknowledged.
    async fn probe(&mut self, shard: ShardId, when: &str) {
        let mut rng = Rng::seeded(self.rng.next_u64());
        let probing = async {
            loop {
                let leader = self.until("a leader", || self.leader(shard)).await;
                let Some(leader) = leader else { return };
                let command = {
                    let oracle = self.ground.lock(shard);
                    let number = u64::try_from(oracle.proposals.len()).expect("few") + 1;
                    commands::bundle(&mut rng, oracle.newest(), number)
                };
                let Some(leadership) = leader.group.leadership() else { continue };
                self.ground.lock(shard).proposals.attempt(&command);
                let proposed = leader.group.propose(leadership, command.clone(), None);
                let answer = tokio::time::timeout(Duration::from_secs(2), proposed).await;
                if let Ok(Ok(proposed)) = answer {
                    let acknowledged = self.ground.lock(shard).acknowledge(&command, proposed.id);
                    return self.ground.scene.expect(acknowledged);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(RECOVERS_WITHIN, probing).await.is_err() {
            self.ground.scene.violated(format!("shard {shard} takes no proposals {when}"));
        }
    }

    pub(crate) fn leader(&self, shard: ShardId) -> Option<Hosted> {
        self.hosts.iter().filter_map(|host| host.hosted(shard)).find(is_ready)
    }

    /// Whether a shard's group is what its record wants, all nodes know it, those that hold it are
    /// open and the others have nothing of it; else what is amiss.
    fn check_settled(&self, shard: ShardId) -> Result<(), String> {
        let record = self.ground.replicas.record(shard).ok_or("no record")?;
        if record.is_moving() {
            return Err(format!("it moves: {record:?}"));
        }
        let members = self.ground.replicas.members(shard).ok_or("no members")?;
        if !members.are(&record.replicas) {
            return Err(format!("its members are {members:?}, not {record:?}"));
        }
        self.hosts.iter().try_for_each(|host| check_host(host, shard, &record))
    }

    /// All replicas of a shard, once all have applied everything.
    fn level(&self, shard: ShardId) -> Option<Vec<Hosted>> {
        let all: Vec<Hosted> = self.hosts.iter().filter_map(|host| host.hosted(shard)).collect();
        let wanted = self.wanted(shard).len();
        let end = self.ground.lock(shard).len();
        let visible = |hosted: &Hosted| {
            hosted.replica.visible.load(std::sync::atomic::Ordering::Relaxed) == end
        };
        (all.len() == wanted && all.iter().all(visible)).then_some(all)
    }

    /// Looks again and again until there is something to see; never is a violation.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let looking = async {
            loop {
                if let Some(seen) = look() {
                    return seen;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let seen = tokio::time::timeout(RECOVERS_WITHIN, looking).await.ok();
        if seen.is_none() {
            self.ground.scene.violated(format!("waited {RECOVERS_WITHIN:?} for {what}"));
        }
        seen
    }
}

fn holds(wanted: &[(ReplicaId, NodeId)], node: NodeId) -> bool {
    wanted.iter().any(|(_, at)| *at == node)
}

/// Whether a node has of a shard what its record gives it; else what is amiss.
fn check_host(host: &Host, shard: ShardId, record: &ShardRecord) -> Result<(), String> {
    let id = host.id();
    let process = host.process().ok_or_else(|| format!("node {id} is down"))?;
    let metadata = process.metadata().ok_or_else(|| format!("node {id} knows no image"))?;
    if metadata.image().shards.get(&shard) != Some(record) {
        return Err(format!("node {id} has an old image"));
    }
    let open = host.hosted(shard).map(|hosted| hosted.group.replica());
    let wanted = record.replica_on(id);
    if open != wanted {
        return Err(format!("node {id} has {open:?} open, not {wanted:?}"));
    }
    let leftovers = if wanted.is_none() { process.leftovers(shard) } else { Vec::new() };
    if leftovers.is_empty() { Ok(()) } else { Err(format!("node {id} still has {leftovers:?}")) }
}
