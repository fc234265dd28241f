//! Changes where replicas are to be, while everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use quipu_metadata::{Command, MetadataError, Outcome, ReplicaMove, ShardRecord};
use quipu_runtime::{Deadline, Rng};
use quipu_types::{NodeId, ReplicaId, ShardId};
use tokio_util::sync::CancellationToken;

use super::census::Event;
use super::ground::Ground;
use super::host::Host;
use super::net::Net;
use super::plant::Plant;
use super::process::Process;
use crate::commands::{one_in, pick};

/// How long the metadata group may take to hear of a change, and a shard to settle.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a node leads with an old image.
const LEADS_BLIND: Duration = Duration::from_secs(1);

/// What has replicas moved.
pub(crate) struct Mover {
    ground: Ground,
    hosts: Arc<Vec<Host>>,
    rng: Rng,
    /// Between two changes, at most. Unit: milliseconds.
    pause_ms: u64,
}

impl Mover {
    pub(crate) const fn new(
        ground: Ground,
        hosts: Arc<Vec<Host>>,
        rng: Rng,
        pause_ms: u64,
    ) -> Self {
        Self { ground, hosts, rng, pause_ms }
    }

    /// Works until told to stop.
    pub(crate) async fn work(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let pause = Duration::from_millis(self.rng.below(self.pause_ms));
                tokio::time::sleep(pause).await;
                self.move_some().await;
            }
        })
        .await;
    }

    /// Has the record of a shard changed.
    async fn move_some(&mut self) {
        let shards: Vec<ShardId> = self.ground.shards().collect();
        let shard = pick(&mut self.rng, &shards);
        let Some(before) = self.ground.replicas.record(shard) else { return };
        // Mostly a move that is under way comes to its end.
        if before.is_moving() && !one_in(&mut self.rng, 4) {
            return;
        }
        if !before.is_moving() && one_in(&mut self.rng, 6) {
            self.mislead(shard, &before).await;
            return;
        }
        let to = self.destination(&before);
        self.have_moved(shard, &before, to).await;
    }

    /// Has a shard's record changed by any node; says whether it was.
    async fn have_moved(
        &mut self,
        shard: ShardId,
        before: &ShardRecord,
        to: Vec<NodeId>,
    ) -> Option<ShardRecord> {
        let process = self.any_process()?;
        let node = process.life().node();
        let event = format_args!("node {node} is told to have shard {shard} on {to:?}");
        self.ground.scene.note(event);
        let change = Command::MoveReplicas(ReplicaMove { shard, to });
        let changed = self.propose(&process, change).await;
        let Some(Outcome::ReplicasMoving(after)) = changed else { return None };
        self.count(shard, before, &after);
        if self.ground.scene.has(Plant::SettledUnseen) {
            let replicas = after.replicas.iter().map(|(replica, _)| *replica).collect();
            let settled = Command::SettleShard { shard, replicas };
            self.propose(&process, settled).await;
        }
        Some(after)
    }

    /// Has a node lead that does not know how a move was called off, as far as nothing comes
    /// between.
    async fn mislead(&mut self, shard: ShardId, before: &ShardRecord) {
        let is_controller = |host: &&Host| host.process().is_some_and(|it| it.is_controller());
        let controller = self.hosts.iter().find(is_controller).map(Host::id);
        let nodes = before.nodes();
        let blind = nodes.iter().position(|node| Some(*node) != controller);
        let (Some(controller), Some(blind)) = (controller, blind) else { return };
        let own = nodes[blind];
        let others: Vec<NodeId> =
            self.ground.nodes().filter(|node| !nodes.contains(node)).collect();
        let mut to = nodes.clone();
        to[(blind + 1) % nodes.len()] = pick(&mut self.rng, &others);
        let Some(moving) = self.have_moved(shard, before, to).await else { return };
        let host = self.hosts.iter().find(|host| host.id() == own).expect("all are there").clone();
        let image = || host.process()?.metadata().map(|metadata| metadata.image());
        let knows = || image().is_some_and(|image| image.shards.get(&shard) == Some(&moving));
        wait(knows).await;
        let _cut = Cut::between(&self.ground, own, controller);
        self.have_moved(shard, &moving, nodes).await;
        let is_settled = || self.ground.replicas.record(shard).is_some_and(|it| !it.is_moving());
        wait(is_settled).await;
        if !knows() || !is_settled() {
            return;
        }
        let hosted = self.hosts.iter().filter_map(|host| host.hosted(shard));
        let leader = hosted.into_iter().find(|hosted| hosted.group.leadership().is_some());
        if let (Some(leader), Some(next)) = (leader, host.hosted(shard))
            && leader.group.transfer_leadership(next.group.replica()).await.is_ok()
        {
            let event = format_args!("node {own} leads shard {shard} with an old image");
            self.ground.scene.count(Event::Misled, event);
            tokio::time::sleep(LEADS_BLIND).await;
        }
    }

    /// A node that is part of the cluster.
    fn any_process(&mut self) -> Option<Arc<Process>> {
        let up = self.hosts.iter().filter_map(Host::process);
        let up: Vec<_> = up.filter(|process| process.metadata().is_some()).collect();
        let which = self.rng.below(u64::try_from(up.len()).expect("few").max(1));
        up.into_iter().nth(usize::try_from(which).expect("few"))
    }

    /// What became of a change, if it is known.
    async fn propose(&self, process: &Process, change: Command) -> Option<Outcome> {
        let metadata = process.metadata()?;
        let deadline = Deadline::after(process.clock(), PATIENCE);
        let answer = tokio::select! {
            biased;
            () = process.life().over() => return None,
            answer = metadata.propose(change, deadline) => answer,
        };
        let node = process.life().node();
        let heard = |error: &MetadataError| {
            self.ground.scene.note(format_args!("node {node} says {error}"))
        };
        answer.inspect_err(heard).ok()
    }

    /// Mostly one replica goes to another node; several, back, or only in another order now and
    /// then.
    fn destination(&mut self, record: &ShardRecord) -> Vec<NodeId> {
        let mut nodes = record.nodes();
        let others: Vec<NodeId> =
            self.ground.nodes().filter(|node| !nodes.contains(node)).collect();
        match self.rng.below(10) {
            0..5 if record.is_moving() => {
                let back = record.leaving.iter().map(|(_, node)| *node);
                let count = nodes.len();
                let mut back: Vec<NodeId> = back.chain(nodes).collect();
                back.truncate(count);
                back
            }
            5 => {
                let mut all: Vec<NodeId> =
                    others.into_iter().chain(nodes.iter().copied()).collect();
                for place in 1..all.len() {
                    let other = self.rng.below(u64::try_from(place + 1).expect("few"));
                    all.swap(place, usize::try_from(other).expect("few"));
                }
                all.truncate(nodes.len());
                all
            }
            _ => {
                let place = self.rng.below(u64::try_from(nodes.len()).expect("few"));
                nodes[usize::try_from(place).expect("few")] = pick(&mut self.rng, &others);
                if one_in(&mut self.rng, 3) {
                    nodes.rotate_left(1);
                }
                nodes
            }
        }
    }

    fn count(&self, shard: ShardId, before: &ShardRecord, after: &ShardRecord) {
        let scene = &self.ground.scene;
        let event = format!("shard {shard} has {:?}, not {:?}", after.replicas, after.leaving);
        if after.is_moving() {
            scene.count(Event::MoveBegun, format_args!("{event}"));
        }
        let stays = |(replica, _): &(ReplicaId, NodeId)| {
            after.replicas.iter().any(|(stays, _)| stays == replica)
        };
        if before.leaving.iter().any(stays) {
            scene.count(Event::MovedBack, format_args!("{event}: back"));
        }
    }
}

/// Waits until something is so, or until that takes too long.
async fn wait(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, waiting).await;
}

/// Nothing passes between two nodes while it is there.
pub(crate) struct Cut {
    net: Net,
    ends: [(NodeId, NodeId); 2],
}

impl Cut {
    pub(crate) fn between(ground: &Ground, one: NodeId, other: NodeId) -> Self {
        let event = format_args!("nothing passes between {one} and {other}");
        ground.scene.count(Event::Partitioned, event);
        let ends = [(one, other), (other, one)];
        ends.iter().for_each(|(from, to)| ground.net.cut(*from, *to));
        Self { net: ground.net.clone(), ends }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.ends.iter().for_each(|(from, to)| self.net.mend(*from, *to));
    }
}
