//! A run: clients work while everything breaks, all is mended, and everything must be read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_broker::fetch::{FetchCommand, FetchPosition};
use quipu_runtime::{Deadline, Rng};
use quipu_types::{Offset, PartitionId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::Way;
use super::floor::Floor;
use super::link::Road;
use super::onlooker::Onlooker;
use super::plan::{GroupPlan, Plan};
use super::producer::Producer;
use super::seat::Seat;
use super::trouble::Trouble;
use crate::l1::census::Event;
use crate::l1::nemesis::Nemesis;
use crate::l1::scene::Scene;
use crate::l1::world::World as Cluster;
use crate::node::End;

/// How long producers may take to settle everything in a healthy cluster.
const SETTLES_WITHIN: Duration = Duration::from_secs(200);
/// How long no group may come closer then to having read and committed everything. How long that
/// takes in all is for the members to say: some handle three records a second.
const READS_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 64 << 10;

/// A cluster with clients under one seed.
pub(crate) struct World {
    cluster: Cluster,
    floor: Arc<Floor>,
    road: Road,
    rng: Rng,
}

impl World {
    pub(crate) fn new(seed: u64, scene: Scene) -> Self {
        let mut rng = Rng::seeded(seed ^ 0x12_5EED);
        let plan = Plan::draw(&mut rng);
        scene.note(format_args!("seed {seed}: {plan:?}"));
        let floor = Floor::new(plan.clone(), &mut rng, scene.clone());
        let cluster_rng = Rng::seeded(rng.next_u64());
        let cluster = Cluster::of(plan.cluster, cluster_rng, scene, Some(Arc::clone(&floor)));
        let road = Road::new(Rng::seeded(rng.next_u64()));
        Self { cluster, floor, road, rng }
    }

    /// Runs to the end, or to the first violation.
    pub(crate) async fn run(mut self) {
        let scene = self.cluster.ground.scene.clone();
        tokio::select! {
            biased;
            () = scene.over() => {}
            () = self.phases() => {}
        }
    }

    fn way(&self) -> Way {
        Way {
            ground: self.cluster.ground.clone(),
            floor: Arc::clone(&self.floor),
            hosts: Arc::clone(&self.cluster.hosts),
            road: self.road.clone(),
        }
    }

    fn draw(&mut self) -> Rng {
        Rng::seeded(self.rng.next_u64())
    }

    async fn phases(&mut self) {
        self.cluster.start();
        self.cluster.all_are_there().await;
        self.all_are_open().await;
        let (calm, over) = (CancellationToken::new(), CancellationToken::new());
        self.seat_members(&calm, &over);
        self.load(&calm).await;
        if self.floor.plan.cluster.has_last_blackout {
            let scene = &self.cluster.ground.scene;
            scene.count(Event::Blackout, format_args!("the power goes everywhere"));
            self.cluster.hosts.iter().for_each(|host| host.crash(End::PowerCut));
        }
        self.everything_is_read().await;
        over.cancel();
        self.cluster.agree("in the end").await;
        self.read_all().await;
    }

    /// Every partition can be written to.
    async fn all_are_open(&self) {
        let all = self.floor.all_partitions();
        let shards: Vec<_> = self.cluster.ground.shards().collect();
        self.cluster
            .until("all partitions", || {
                let leaders = shards.iter().map(|shard| self.cluster.leader(*shard));
                let hosted: Option<Vec<_>> = leaders.map(|leader| leader?.shard).collect();
                let open: usize = hosted?.iter().map(|shard| shard.partitions().len()).sum();
                (open == all.len()).then_some(())
            })
            .await;
    }

    fn seat_members(&mut self, calm: &CancellationToken, over: &CancellationToken) {
        for group in self.floor.plan.groups.clone() {
            for number in 1..=group.members {
                let seat = Seat {
                    way: self.way(),
                    group: group.clone(),
                    number,
                    rng: self.draw(),
                    calm: calm.clone(),
                    over: over.clone(),
                };
                self.cluster.ground.spawn("seat", seat.fill());
            }
        }
    }

    /// Producers write, and things break; then producers settle what they have.
    async fn load(&mut self, calm: &CancellationToken) {
        let stop = CancellationToken::new();
        self.cluster.hosts.iter().for_each(|host| host.set_calm(false));
        let mut writing = Vec::new();
        for number in 1..=self.floor.plan.producers {
            let producer = Producer::new(self.way(), number, self.draw());
            writing.push(producer.work(stop.clone()));
        }
        let ground = self.cluster.ground.clone();
        let hosts = Arc::clone(&self.cluster.hosts);
        let nemesis = Nemesis::new(ground, hosts, self.draw(), stop.clone());
        let trouble = Trouble { way: self.way(), rng: self.draw(), stop: stop.clone() };
        let onlooker = Onlooker { way: self.way(), rng: self.draw(), stop: stop.clone() };
        let (lasts, scene) = (self.floor.plan.cluster.load, self.cluster.ground.scene.clone());
        let ends = async {
            tokio::time::sleep(lasts).await;
            scene.note(format_args!("all is mended"));
            stop.cancel();
            calm.cancel();
            self.cluster.hosts.iter().for_each(|host| host.set_calm(true));
        };
        let work = async {
            let writing = futures::future::join_all(writing);
            futures::join!(writing, nemesis.work(), trouble.work(), onlooker.work(), ends);
        };
        let within = lasts + SETTLES_WITHIN;
        if tokio::time::timeout(within, Box::pin(work)).await.is_err() {
            scene
                .violated(format!("producers are not done {SETTLES_WITHIN:?} after all is mended"));
        }
    }

    /// Every group has read and committed all there is, by members that own all partitions.
    async fn everything_is_read(&self) {
        let (mut behind, mut since) = (self.behind(), Instant::now());
        while let Some(what) = behind.first() {
            if since.elapsed() > READS_WITHIN {
                let scene = &self.cluster.ground.scene;
                return scene.violated(format!("all is mended, and for {READS_WITHIN:?} {what}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.behind();
            if now != behind {
                (behind, since) = (now, Instant::now());
            }
        }
    }

    /// Groups that are not where they should be.
    fn behind(&self) -> Vec<String> {
        let books = self.floor.books();
        let of = |group: &GroupPlan| {
            let (name, partitions) = (group.name, self.floor.partitions(&group.topics));
            let behind = partitions.into_iter().filter_map(|id| {
                let (start, end) = (books.log_start(id), books.end(id));
                let at = books.position(name, id);
                let is_behind = at.max(start) < end;
                is_behind
                    .then(|| format!("group {name} is at {at} of {id}, which has {start} to {end}"))
            });
            behind.collect::<Vec<_>>()
        };
        self.floor.plan.groups.iter().flat_map(of).collect()
    }

    /// Reads every partition from its beginning to its end.
    async fn read_all(&mut self) {
        for partition in self.floor.all_partitions() {
            let (start, end) = {
                let books = self.floor.books();
                (books.log_start(partition), books.end(partition))
            };
            let mut next = start;
            let mut attempts = 0;
            while next < end {
                // Retention goes on meanwhile.
                next = next.max(self.floor.books().log_start(partition));
                attempts += 1;
                if attempts > 400 {
                    let scene = &self.cluster.ground.scene;
                    scene.violated(format!("{partition} is not read on from {next} to {end}"));
                    return;
                }
                let Some(batches) = self.read_some(partition, next).await else { continue };
                let read = self.floor.books().read(partition, next, &batches);
                match read {
                    Ok(behind) => next = behind,
                    Err(what) => return self.cluster.ground.scene.violated(what),
                }
            }
        }
    }

    async fn read_some(&mut self, partition: PartitionId, from: u64) -> Option<Vec<Bytes>> {
        let way = self.way();
        let asked = way.any_node(&mut self.rng);
        let Some(leader) = way.leader(asked, partition).await else {
            tokio::time::sleep(LOOK_EVERY).await;
            return None;
        };
        let position = FetchPosition {
            topic: partition.topic,
            partition: partition.index,
            offset: Offset::new(from),
            bytes_max: READ_BYTES,
        };
        let fetched = way.ask(leader, |broker, _| async move {
            let deadline = Deadline::after(broker.clock(), LOOK_EVERY);
            let (bytes_min, bytes_max, first) = (1, READ_BYTES, 0);
            let positions = vec![position];
            broker.fetch(FetchCommand { positions, bytes_min, bytes_max, deadline, first }).await
        });
        let fetched = fetched.await.ok()?.partitions.into_iter().next()?.result;
        fetched.ok().map(|fetched| fetched.batches)
    }
}
