//! What else goes wrong than nodes: records are deleted, clocks jump, leaders move.

use std::time::Duration;

use quipu_broker::delete_records::DeleteRecordsTarget;
use quipu_partition::retention::Limits;
use quipu_runtime::{Deadline, Rng};
use quipu_shard::PartitionControl;
use quipu_types::{NodeId, Offset, PartitionId, ShardId, TimestampMs};
use tokio_util::sync::CancellationToken;

use super::call::Way;
use super::onlooker;
use super::plant::Plant;
use crate::commands::pick;
use crate::l1::census::Event;
use crate::l1::client::is_ready;
use crate::l1::ground::replica_on;
use crate::l1::mover::Cut;
use crate::l1::process::Hosted;

/// By how much a clock jumps. Unit: milliseconds.
const JUMPS_MS: [i64; 4] = [600_000, -600_000, 365 * 86_400_000, -365 * 86_400_000];
/// How long it is wrong, at most. Unit: milliseconds.
const WRONG_MS: u64 = 9_000;
/// How long a leader is cut off that another replaces meanwhile, at least, and how much longer at
/// most: clients have given it up by then, and some have gone on with the other. Unit: milliseconds.
const DEPOSED_MS: (u64, u64) = (6_000, 6_000);
/// How often somebody looks whether it answers with what is old by then.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What makes it.
pub(super) struct Trouble {
    pub(super) way: Way,
    pub(super) rng: Rng,
    pub(super) stop: CancellationToken,
}

impl Trouble {
    /// Works until told to stop.
    pub(super) async fn work(mut self) {
        let most = self.way.floor.plan.trouble_ms;
        loop {
            let pause = tokio::time::sleep(Duration::from_millis(self.rng.below(most)));
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            match self.rng.below(11) {
                0..4 => self.delete().await,
                4..7 => self.jump(),
                7 => self.depose(),
                _ => self.hand_over().await,
            }
        }
    }

    fn any_partition(&mut self) -> PartitionId {
        pick(&mut self.rng, &self.way.floor.all_partitions())
    }

    /// Has the beginning of a partition deleted.
    async fn delete(&mut self) {
        let partition = self.any_partition();
        let below = {
            let mut books = self.way.floor.books();
            let (start, end) = (books.log_start(partition), books.acked_end(partition));
            // Mostly a little: what is gone is of no more use to anybody.
            let below = start + self.rng.below(12).min(end.saturating_sub(start));
            books.ask_to_delete(partition, below);
            below
        };
        let target = DeleteRecordsTarget {
            topic: self.way.floor.topic_of(partition).to_owned(),
            partition: partition.index,
            before: Some(Offset::new(below)),
        };
        let node = self.way.any_node(&mut self.rng);
        let asked = self.way.ask(node, |broker, deadline| async move {
            broker.delete_records(&target, deadline).await
        });
        let scene = &self.way.ground.scene;
        match asked.await {
            Ok(Ok(start)) => {
                scene.note(format_args!("{partition} begins at {start} on request"));
                let found = self.way.floor.books().log_start(partition);
                if found < below || start.get() > found {
                    scene.violated(format!(
                        "{partition} was asked to begin at {below}, begins at {found}, and {start} \
                         is what was answered"
                    ));
                }
            }
            Ok(Err(error)) => scene.note(format_args!("{partition} is not deleted: {error}")),
            Err(none) => scene.note(format_args!("{partition} is perhaps deleted: {none:?}")),
        }
    }

    /// A machine's wall clock is wrong for a while.
    fn jump(&mut self) {
        let node = self.way.any_node(&mut self.rng);
        let by = pick(&mut self.rng, &JUMPS_MS);
        let event = format_args!("the clock of node {node} is off by {by} ms");
        self.way.ground.scene.count(Event::Jumped, event);
        self.way.floor.set_jump(node, by);
        if by > 0 && self.way.ground.scene.has(Plant::RetentionFollowsTheWall) {
            self.way.nodes().into_iter().for_each(|node| self.retire_by_the_wall(node));
        }
        let (floor, stop) = (self.way.floor.clone(), self.stop.clone());
        let lasts = Duration::from_millis(self.rng.below(WRONG_MS));
        self.way.ground.spawn("clock", async move {
            stop.run_until_cancelled(tokio::time::sleep(lasts)).await;
            floor.set_jump(node, 0);
        });
    }

    /// What retention would do if it believed the wall clock.
    fn retire_by_the_wall(&self, node: NodeId) {
        let Some((process, _, _)) = self.way.listener(node) else { return };
        let age_ms = self.way.floor.plan.topics.iter().find_map(|topic| topic.age_ms);
        let limits = Limits { age_ms, bytes: None };
        let far = TimestampMs::new(self.way.floor.now_ms() + 600_000);
        let shards: Vec<_> = self.way.ground.shards().collect();
        let hosted = shards.into_iter().filter_map(|shard| process.hosted(shard));
        for shard in hosted.filter(is_ready).filter_map(|hosted| hosted.shard) {
            let deadline = Deadline::after(process.clock(), Duration::from_secs(5));
            for partition in shard.partitions() {
                let handle = shard.partition(partition);
                let cut = handle.and_then(|handle| handle.retention_cut(limits, far, 16).ok()?);
                let Some(to) = cut.map(|cut| cut.to) else { continue };
                let (shard, command) = (shard.clone(), PartitionControl::Trim { partition, to });
                self.way.ground.spawn("wrong retention", async move {
                    // Whether it worked is seen in the log.
                    let _ = shard.control(command, deadline).await;
                });
            }
        }
    }

    /// Some shard, and who leads it.
    fn any_leader(&mut self) -> Option<(ShardId, Hosted)> {
        let shards: Vec<_> = self.way.ground.shards().collect();
        let shard = pick(&mut self.rng, &shards);
        let mut hosted = self.way.hosts.iter().filter_map(|host| host.hosted(shard));
        Some((shard, hosted.find(is_ready)?))
    }

    /// A leader is cut off from all other nodes, and not from clients: another takes its place,
    /// and it hears of that later than they do. It must not say what is old by then.
    fn depose(&mut self) {
        let Some((shard, leader)) = self.any_leader() else { return };
        let own = leader.replica.life.node();
        let ground = &self.way.ground;
        ground.scene.note(format_args!("node {own} leads shard {shard}, and hears nobody"));
        let others = ground.nodes().filter(|node| *node != own);
        let cuts: Vec<Cut> = others.map(|other| Cut::between(ground, own, other)).collect();
        let (least, more) = DEPOSED_MS;
        let lasts = Duration::from_millis(least + self.rng.below(more));
        let (way, stop) = (self.way.clone(), self.stop.clone());
        let looking = async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                for group in &way.floor.plan.groups {
                    onlooker::check(&way, own, group).await;
                }
            }
        };
        ground.spawn("deposed", async move {
            stop.run_until_cancelled(tokio::time::timeout(lasts, looking)).await;
            drop(cuts);
        });
    }

    /// Leadership of a shard moves.
    async fn hand_over(&mut self) {
        let to = self.way.any_node(&mut self.rng);
        let Some((shard, leader)) = self.any_leader() else { return };
        let life = leader.replica.life.clone();
        if life.node() == to {
            return;
        }
        let taken = tokio::select! {
            biased;
            () = life.over() => false,
            taken = leader.group.transfer_leadership(replica_on(to)) => taken.is_ok(),
        };
        if taken {
            let event = format_args!("shard {shard} is handed over to node {to}");
            self.way.ground.scene.count(Event::HandedOver, event);
        }
    }
}
