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
use super::plant::Plant;
use super::process::Process;
use crate::commands::{one_in, pick};

/// How long the metadata group may take to hear of a change.
const PATIENCE: Duration = Duration::from_secs(2);

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
        let Some(process) = self.any_process() else { return };
        let to = self.destination(&before);
        let node = process.life().node();
        let event = format_args!("node {node} is told to have shard {shard} on {to:?}");
        self.ground.scene.note(event);
        let change = Command::MoveReplicas(ReplicaMove { shard, to });
        let changed = self.propose(&process, change).await;
        let Some(Outcome::ReplicasMoving(after)) = changed else { return };
        self.count(shard, &before, &after);
        if self.ground.scene.has(Plant::SettledUnseen) {
            let replicas = after.replicas.iter().map(|(replica, _)| *replica).collect();
            let settled = Command::SettleShard { shard, replicas };
            self.propose(&process, settled).await;
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
            0..3 if record.is_moving() => {
                let back = record.leaving.iter().map(|(_, node)| *node);
                let count = nodes.len();
                let mut back: Vec<NodeId> = back.chain(nodes).collect();
                back.truncate(count);
                back
            }
            3 => {
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
