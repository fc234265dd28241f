//! Courses of events that hardly any seed takes, step by step: leaders that were replaced and do
//! not know it, or know it and lead again.

use std::time::Duration;

use quipu_consensus::Config;
use quipu_metadata::{Command, Metadata, ReplicaMove, ShardRecord};
use quipu_runtime::{Deadline, Rng};
use quipu_types::{NodeId, ReplicaId, ShardId};

use super::client::is_ready;
use super::entropy::seed_thread;
use super::mover::Cut;
use super::net::Weather;
use super::plan::{Moves, Plan};
use super::process::Hosted;
use super::scene::Scene;
use super::world::World;
use crate::trace::Trace;

const SHARD: ShardId = ShardId::new(1);
const CONTROLLER: NodeId = NodeId::new(5);
/// Where a replica goes, and does not stay.
const TRIED: NodeId = NodeId::new(4);
/// A question and a round of the quorum that is asked.
const ANSWERED: Duration = Duration::from_millis(150);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a leader waits for an answer, and then for its next look.
const ENOUGH: Duration = Duration::from_secs(5);

/// A leader asks whether it may have a replica follow; before it hears the answer another leads, the
/// move is called off and done, the replica's data is deleted, and it leads again.
#[test]
fn a_step_that_was_confirmed_too_late_is_not_taken() {
    let scene = run(Duration::from_millis(15), async |cluster| {
        let old = cluster.leader().await?;
        let (own, rest) = cluster.places(&old);
        let moving = cluster.move_to([own, rest[0], TRIED]).await;
        let knows = || (cluster.record_on(own)? == moving).then_some(());
        cluster.world.until("a new record", knows).await?;
        // It has asked. The answer stays on its way, and whoever leads the metadata group next can
        // tell it nothing.
        let net = &cluster.world.ground.net;
        [CONTROLLER, TRIED].iter().for_each(|from| net.cut(*from, own));
        tokio::time::sleep(ANSWERED).await;
        cluster.lead_metadata(TRIED).await;
        cluster.move_to([own, rest[0], rest[1]]).await;
        let next = cluster.hosted(rest[0]).expect("it is open");
        cluster.hand_over(&old, &next).await?;
        let is_settled = || (!cluster.record().is_moving()).then_some(());
        cluster.world.until("the end of the move", is_settled).await?;
        cluster.hand_over(&next, &old).await?;
        net.mend(CONTROLLER, own);
        tokio::time::sleep(ENOUGH).await;
        assert_eq!(cluster.record_on(own), Some(moving), "its image is old");
        net.mend(TRIED, own);
        cluster.world.settle(SHARD, "once all hear each other").await;
        Some(())
    });
    assert_eq!(scene.violation(), None);
}

/// A replica is given a vote, its move is called off, and nobody but a deposed leader can say
/// anything to the metadata group: it sees the members as they were before all that, and they are
/// what the record wants.
#[test]
fn a_deposed_leader_settles_nothing() {
    let scene = run(Duration::from_micros(500), async |cluster| {
        let old = cluster.leader().await?;
        let (own, rest) = cluster.places(&old);
        let deaf = cluster.cuts(own, &[rest[0], rest[1], TRIED]);
        let leads = || rest.iter().filter_map(|node| cluster.hosted(*node)).find(is_ready);
        let next = cluster.world.until("another leader", leads).await?;
        let stays = next.replica.life.node();
        // Else it would have the new replica follow, and wait for ever.
        let is_deaf = || (!old.consensus.is_alive(TRIED)).then_some(());
        cluster.world.until("silence", is_deaf).await?;
        cluster.move_to([own, stays, TRIED]).await;
        cluster.world.until("a vote", || cluster.voter_on(TRIED)).await?;
        let mute = cluster.cuts(CONTROLLER, &rest);
        cluster.move_to([own, rest[0], rest[1]]).await;
        tokio::time::sleep(ENOUGH).await;
        assert!(old.group.leadership().is_some(), "it knows of no other");
        let record = cluster.record();
        assert!(record.is_moving(), "{TRIED} may vote: {record:?}");
        drop((deaf, mute));
        cluster.world.settle(SHARD, "once all hear each other").await;
        Some(())
    });
    assert_eq!(scene.violation(), None);
}

/// Five nodes; three hold the shard, and another leads the metadata group.
struct Cluster<'a> {
    world: &'a World,
}

/// Runs a script in a cluster whose network takes so long, until it ends or something must not be.
fn run(
    delay: Duration,
    script: impl AsyncFnOnce(&Cluster<'_>) -> Option<()> + Send + 'static,
) -> Scene {
    let running = move || {
        seed_thread(1);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(Trace::silent(), None);
            let mut world = World::of(plan(delay), Rng::seeded(1), scene.clone(), None);
            world.start();
            world.form().await;
            let cluster = Cluster { world: &world };
            let scripted = async {
                cluster.lead_metadata(CONTROLLER).await;
                script(&cluster).await
            };
            tokio::select! {
                biased;
                () = scene.over() => {}
                done = scripted => assert_eq!(done, Some(()), "waited in vain"),
            }
            scene
        })
    };
    std::thread::spawn(running).join().unwrap()
}

fn plan(delay: Duration) -> Plan {
    let consensus = Config {
        heartbeat_interval: Duration::from_millis(100),
        election_timeout_min: Duration::from_millis(500),
        election_timeout_max: Duration::from_millis(1_000),
        silence_max: Duration::from_secs(2),
        ..Config::default()
    };
    let delay_us = u64::try_from(delay.as_micros()).unwrap();
    let weather = Weather { delay_us, jitter_us: 500, spike_one_in: 0 };
    let moves = Some(Moves { pause_ms: 1_000 });
    let drawn = Plan::draw(&mut Rng::seeded(1));
    let mut plan = Plan { nodes: 5, consensus, weather, moves, ..drawn };
    plan.storage.shards = 1;
    plan
}

impl Cluster<'_> {
    fn hosted(&self, node: NodeId) -> Option<Hosted> {
        self.world.hosts.iter().find(|host| host.id() == node)?.hosted(SHARD)
    }

    async fn leader(&self) -> Option<Hosted> {
        self.world.until("a leader", || self.world.leader(SHARD)).await
    }

    /// A leader's node, and those of the other voters.
    fn places(&self, leader: &Hosted) -> (NodeId, Vec<NodeId>) {
        let own = leader.replica.life.node();
        let all = leader.group.members().into_iter().map(|member| member.node);
        (own, all.filter(|node| *node != own).collect())
    }

    /// The replica of a node, once it votes.
    fn voter_on(&self, node: NodeId) -> Option<ReplicaId> {
        let members = self.world.ground.replicas.members(SHARD)?;
        let found = members.places().find(|(_, at)| *at == node);
        found.map(|(replica, _)| replica).filter(|replica| members.votes(*replica))
    }

    /// The newest record.
    fn record(&self) -> ShardRecord {
        self.world.ground.replicas.record(SHARD).expect("it was made")
    }

    fn metadata(&self, node: NodeId) -> Option<Metadata> {
        self.world.hosts.iter().find(|host| host.id() == node)?.process()?.metadata()
    }

    /// The record in a node's image.
    fn record_on(&self, node: NodeId) -> Option<ShardRecord> {
        self.metadata(node)?.image().shards.get(&SHARD).cloned()
    }

    fn cuts(&self, one: NodeId, others: &[NodeId]) -> Vec<Cut> {
        others.iter().map(|other| Cut::between(&self.world.ground, one, *other)).collect()
    }

    /// Tells the controller where the shard is to be; gives its record.
    async fn move_to(&self, to: [NodeId; 3]) -> ShardRecord {
        let metadata = self.metadata(CONTROLLER).expect("it takes part");
        let change = Command::MoveReplicas(ReplicaMove { shard: SHARD, to: to.to_vec() });
        let clock = self.hosted(to[0]).expect("it is open").clock;
        metadata.propose(change, Deadline::after(&clock, PATIENCE)).await.expect("a move begins");
        self.record_on(CONTROLLER).expect("it is in the image")
    }

    async fn hand_over(&self, from: &Hosted, to: &Hosted) -> Option<()> {
        // Refused as long as it is behind.
        let _ = from.group.transfer_leadership(to.group.replica()).await;
        self.world.until("a successor", || is_ready(to).then_some(())).await
    }

    /// Has a node lead the metadata group.
    async fn lead_metadata(&self, node: NodeId) {
        while !self.metadata(node).is_some_and(|metadata| metadata.is_controller()) {
            let processes = self.world.hosts.iter().filter_map(|host| host.process());
            let groups = processes.filter_map(|process| process.metadata_group());
            if let Some(leads) = groups.into_iter().find(|group| group.leadership().is_some()) {
                let members = leads.members().into_iter();
                for next in members.filter(|member| member.node == node) {
                    // Refused as long as it is behind.
                    let _ = leads.transfer_leadership(next.replica).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
