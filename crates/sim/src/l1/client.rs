//! Clients that propose and read while everything breaks, and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use quipu_consensus::{ProposeError, Proposed, Role};
use quipu_runtime::{Deadline, Rng};
use quipu_types::{Effect, ReplicaId, ShardId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::census::Event;
use super::ground::Ground;
use super::host::Host;
use super::plant::Plant;
use super::process::Hosted;
use crate::commands::{self, one_in};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Proposals on their way together.
const BURST_MAX: u64 = 6;
/// Commands of unknown outcome that a client remembers.
const KEPT_MAX: usize = 8;

/// A client.
pub(crate) struct Client {
    ground: Ground,
    hosts: Arc<Vec<Host>>,
    rng: Rng,
    /// Commands whose outcome it does not know.
    unknown: Vec<(ShardId, Bytes)>,
}

/// What became of a proposal.
enum Outcome {
    Acknowledged(Proposed),
    /// Committed, but nobody said where.
    Forwarded,
    Refused,
    Unknown,
}

impl Client {
    pub(crate) const fn new(ground: Ground, hosts: Arc<Vec<Host>>, rng: Rng) -> Self {
        Self { ground, hosts, rng, unknown: Vec::new() }
    }

    /// Works until told to stop.
    pub(crate) async fn work(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(self.rng.below(self.ground.plan.think_ms)))
                .await;
            let shards: Vec<ShardId> = self.ground.shards().collect();
            let shard = commands::pick(&mut self.rng, &shards);
            match self.rng.below(100) {
                0..54 => self.propose_some(shard).await,
                54..64 => self.forward(shard).await,
                64..82 => self.repeat().await,
                82..98 => self.read(shard).await,
                _ => self.hand_over(shard).await,
            }
        }
    }

    /// Whoever leads a shard, as it believes, or now and then anybody; nobody while nobody leads.
    fn whom(&mut self, shard: ShardId) -> Option<Hosted> {
        let all: Vec<Hosted> = self.hosts.iter().filter_map(|host| host.hosted(shard)).collect();
        let leaders: Vec<Hosted> =
            all.iter().filter(|hosted| hosted.group.leadership().is_some()).cloned().collect();
        let from = if one_in(&mut self.rng, 20) { all } else { leaders };
        let which = self.rng.below(u64::try_from(from.len()).expect("few"));
        from.into_iter().nth(usize::try_from(which).expect("few"))
    }

    fn command(&mut self, shard: ShardId) -> Bytes {
        let oracle = self.ground.lock(shard);
        let number = u64::try_from(oracle.proposals.len()).expect("few") + 1;
        let command = commands::bundle(&mut self.rng, oracle.newest(), number);
        drop(oracle);
        command
    }

    async fn propose_some(&mut self, shard: ShardId) {
        let Some(hosted) = self.whom(shard) else { return };
        let burst = if one_in(&mut self.rng, 4) { 1 + self.rng.below(BURST_MAX) } else { 1 };
        let mut under_way = Vec::new();
        for _ in 0..burst {
            let command = self.command(shard);
            under_way.push(self.propose(&hosted, command));
        }
        self.unknown.extend(join_all(under_way).await.into_iter().flatten());
        self.forget_some();
    }

    /// Proposes what may be there already.
    async fn repeat(&mut self) {
        let Some((shard, command)) = self.unknown.pop() else { return };
        let Some(hosted) = self.whom(shard) else { return };
        self.ground.scene.count(Event::Repeated, format_args!("client repeats on shard {shard}"));
        self.unknown.extend(self.propose(&hosted, command).await);
    }

    fn forget_some(&mut self) {
        let surplus = self.unknown.len().saturating_sub(KEPT_MAX);
        self.unknown.drain(..surplus);
    }

    /// Proposes at a replica; gives the command back when its outcome is unknown.
    fn propose(
        &self,
        hosted: &Hosted,
        command: Bytes,
    ) -> impl Future<Output = Option<(ShardId, Bytes)>> + use<> {
        let (ground, shard, life) =
            (self.ground.clone(), hosted.replica.shard, hosted.replica.life.clone());
        ground.lock(shard).proposals.attempt(&command);
        let (flushed, is_flushed) = oneshot::channel();
        let proposed = hosted.group.leadership().map(|leadership| {
            let hook = Box::new(move || _ = flushed.send(()));
            hosted.group.propose(leadership, command.clone(), Some(hook)).boxed()
        });
        async move {
            let outcome = match proposed {
                None => Outcome::Refused,
                Some(proposed) => tokio::select! {
                    biased;
                    () = life.over() => Outcome::Unknown,
                    () = alone(&ground, is_flushed) => Outcome::Forwarded,
                    answer = tokio::time::timeout(PATIENCE, proposed) => {
                        judge(answer.unwrap_or(Err(ProposeError::Deadline)))
                    }
                },
            };
            settle(&ground, shard, command, outcome)
        }
    }

    /// Proposes through a node that may not lead.
    async fn forward(&mut self, shard: ShardId) {
        let which = self.rng.below(self.ground.plan.nodes);
        let from = usize::try_from(which).expect("few");
        let Some(hosted) = self.hosts[from].hosted(shard) else { return };
        let own = self.hosts[from].id();
        let target = hosted.consensus.leader_hint(shard).map_or(own, |hint| hint.node);
        let command = self.command(shard);
        self.ground.lock(shard).proposals.attempt(&command);
        let deadline = Deadline::after(&hosted.clock, PATIENCE);
        let forwarded = hosted.consensus.forward(target, shard, command.clone(), deadline);
        let outcome = tokio::select! {
            biased;
            () = hosted.replica.life.over() => Outcome::Unknown,
            answer = forwarded => match answer {
                Ok(_) => Outcome::Forwarded,
                Err(error) => failed(&error),
            },
        };
        self.unknown.extend(settle(&self.ground, shard, command, outcome));
        self.forget_some();
    }

    /// Reads what must hold everything acknowledged before.
    async fn read(&mut self, shard: ShardId) {
        let Some(hosted) = self.whom(shard) else { return };
        let acknowledged = self.ground.lock(shard).acknowledged();
        let deadline = Deadline::after(&hosted.clock, PATIENCE);
        let confirmed = if self.ground.scene.has(Plant::ReadWithoutRound) {
            hosted.group.leadership().is_some()
        } else {
            tokio::select! {
                biased;
                () = hosted.replica.life.over() => false,
                confirmed = hosted.group.ensure_linearizable(deadline) => confirmed.is_ok(),
            }
        };
        if !confirmed || hosted.replica.life.is_over() {
            return;
        }
        let seen = hosted.replica.visible.load(Ordering::Relaxed);
        let node = hosted.replica.life.node();
        let event = format_args!("read of shard {shard} at node {node} sees {seen}");
        self.ground.scene.count(Event::Read, event);
        if seen < acknowledged {
            self.ground.scene.violated(format!(
                "a read of shard {shard} at node {node} sees {seen} entries, {acknowledged} were \
                 acknowledged before"
            ));
        }
    }

    async fn hand_over(&mut self, shard: ShardId) {
        let Some(hosted) = self.whom(shard) else { return };
        let others = hosted.group.members().into_iter();
        let others = others.filter(|member| member.is_voter).map(|member| member.replica);
        let others: Vec<ReplicaId> =
            others.filter(|replica| *replica != hosted.group.replica()).collect();
        if others.is_empty() {
            return;
        }
        let to = commands::pick(&mut self.rng, &others);
        let life = hosted.replica.life.clone();
        let taken = tokio::select! {
            biased;
            () = life.over() => false,
            taken = hosted.group.transfer_leadership(to) => taken.is_ok(),
        };
        if taken {
            let event = format_args!("shard {shard} is handed over to {to}");
            self.ground.scene.count(Event::HandedOver, event);
        }
    }
}

/// For [`Plant::AcknowledgedByLeaderAlone`]: the leader has it on its disk.
async fn alone(ground: &Ground, is_flushed: oneshot::Receiver<()>) {
    if !ground.scene.has(Plant::AcknowledgedByLeaderAlone) || is_flushed.await.is_err() {
        std::future::pending().await
    }
}

fn judge(answer: Result<Proposed, ProposeError>) -> Outcome {
    match answer {
        Ok(proposed) => Outcome::Acknowledged(proposed),
        Err(error) => failed(&error),
    }
}

fn failed(error: &ProposeError) -> Outcome {
    match error.effect() {
        Effect::None => Outcome::Refused,
        Effect::Unknown => Outcome::Unknown,
    }
}

/// Tells the oracle; gives the command back when its outcome is unknown.
fn settle(
    ground: &Ground,
    shard: ShardId,
    command: Bytes,
    outcome: Outcome,
) -> Option<(ShardId, Bytes)> {
    let is_bent = ground.scene.has(Plant::UnknownIsCalledRefused);
    let is_bent = is_bent && matches!(outcome, Outcome::Unknown);
    let outcome = if is_bent { Outcome::Refused } else { outcome };
    let mut oracle = ground.lock(shard);
    match outcome {
        Outcome::Acknowledged(Proposed { id, .. }) => {
            let event = format_args!("client has {id} of shard {shard} acknowledged");
            ground.scene.count(Event::Acknowledged, event);
            ground.scene.expect(oracle.acknowledge(&command, id));
            None
        }
        Outcome::Forwarded => {
            let event = format_args!("client is told of success on shard {shard}");
            ground.scene.count(Event::Acknowledged, event);
            oracle.proposals.promised(&command);
            None
        }
        Outcome::Refused => {
            let event = format_args!("client is refused on shard {shard}");
            ground.scene.count(Event::Refused, event);
            ground.scene.expect(oracle.proposals.refused(shard, &command));
            None
        }
        Outcome::Unknown => {
            let event = format_args!("client knows nothing on shard {shard}");
            ground.scene.count(Event::Unknown, event);
            Some((shard, command))
        }
    }
}

/// Whether a shard's replica leads, and knows everything committed before.
pub(crate) fn is_ready(hosted: &Hosted) -> bool {
    hosted.group.status().borrow().role == Role::Leader { is_ready: true }
}
