//! Beats between nodes, and elections as soon as a leader's node is known to be dead.
//!
//! A node is lost to another once both their connections are broken, or once it is silent. Each
//! node tells all others whom it lost. When a majority of a group's voters has lost the leader's
//! node, the live voters campaign at once, in an order of rank, instead of waiting for their
//! timers; a voter that has lost the leader too does not hold on to its lease. Raft's own timers
//! remain for everything else. Safety does not depend on any of this.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_runtime::{OnExit, Rng};
use quipu_types::{LogIndex, NodeId, ShardId, Term};
use tokio::time::MissedTickBehavior;

use crate::DiskRoom;
use crate::consensus::Consensus;
use crate::group::Group;
use crate::metrics;
use crate::status::{Member, Role};

/// Campaigns before Raft's own timers take over.
const ATTEMPTS_MAX: u32 = 5;
/// Between a campaign and the next: long enough for two flushes of a busy disk.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(300);

/// Sends beats: every heartbeat interval, and at once when there is news.
pub(crate) async fn beats(consensus: Arc<Consensus>) {
    let peers = Arc::clone(consensus.peer_table());
    let mut tick = tokio::time::interval(peers.config().heartbeat_interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {}
            () = peers.beat_wanted() => {}
        }
        let beat = beat(&consensus);
        for link in peers.all().iter().filter_map(|peer| peer.link()) {
            if link.send_urgent(Body::Beat(beat.clone())).is_err() {
                tracing::debug!("a peer reads nothing: it will be lost soon");
            }
        }
        record_lag(&consensus);
    }
}

fn beat(consensus: &Consensus) -> proto::Beat {
    let groups = consensus.groups();
    let leads = groups.iter().filter_map(|group| {
        let leadership = group.leadership()?;
        Some(proto::LeaderHint { shard: leadership.shard().get(), term: leadership.term().get() })
    });
    proto::Beat {
        lost: consensus.peer_table().lost().into_iter().map(NodeId::get).collect(),
        leads: leads.collect(),
        is_short_of_disk: consensus.disk().measured_room() != DiskRoom::Enough,
    }
}

/// The worst lag per peer, over the groups led here.
fn record_lag(consensus: &Consensus) {
    let mut worst = std::collections::BTreeMap::<NodeId, u64>::new();
    for group in consensus.groups().iter().filter(|group| group.leadership().is_some()) {
        let last = group.positions().last.map_or(0, |id| id.index.get() + 1);
        for (_, node, matched) in group.replication() {
            let matched = matched.map_or(0, |index: LogIndex| index.get() + 1);
            let lag = worst.entry(node).or_default();
            *lag = (*lag).max(last.saturating_sub(matched));
        }
    }
    for peer in consensus.peer_table().all() {
        let lag = worst.get(&peer.node()).copied().unwrap_or(0);
        peer.metrics().lag_entries.set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
    }
}

/// Watches for leaders whose node died, and for peers that came back.
pub(crate) async fn watch(consensus: Arc<Consensus>) {
    let peers = Arc::clone(consensus.peer_table());
    let campaigning = Arc::new(Campaigning::default());
    let mut tick = tokio::time::interval(peers.config().heartbeat_interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut linked = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {}
            () = peers.changed() => {}
        }
        let now: BTreeSet<NodeId> = peers
            .all()
            .iter()
            .filter(|peer| peer.link().is_some())
            .map(|peer| peer.node())
            .collect();
        for node in now.difference(&linked) {
            resume_replication(&consensus, *node).await;
        }
        linked = now;
        if !peers.config().is_failover_fast {
            continue;
        }
        for group in consensus.groups() {
            if let Some(lost) = orphaned(&consensus, &group) {
                campaign(&consensus, group, lost, &campaigning);
            }
        }
    }
}

/// Replication to a node that is back need not wait for its backoff.
async fn resume_replication(consensus: &Consensus, node: NodeId) {
    for group in consensus.groups().into_iter().filter(|group| group.leadership().is_some()) {
        let members = group.members();
        let there = members.iter().filter(|member| member.node == node);
        let replicas: Vec<u64> = there.map(|member| member.replica.get()).collect();
        if !replicas.is_empty() && group.raft().trigger().reset_backoff(replicas).await.is_err() {
            tracing::debug!(shard = %group.shard(), "the group has stopped");
        }
    }
}

/// A leadership that a majority of voters has lost.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lost {
    term: Term,
    node: NodeId,
}

/// The leader's node, when a majority of the voters hears it no more and this replica may vote.
fn orphaned(consensus: &Consensus, group: &Group) -> Option<Lost> {
    let (role, term, leader) = {
        let status = group.status();
        let status = status.borrow();
        (status.role, status.term, status.leader)
    };
    if !matches!(role, Role::Follower | Role::Candidate) {
        return None;
    }
    let (_, node) = leader?;
    let peers = consensus.peer_table();
    if !peers.is_lost(node) {
        return None;
    }
    let voters: Vec<Member> =
        group.members().into_iter().filter(|member| member.is_voter).collect();
    let own = peers.node();
    let witnesses = voters.iter().filter(|voter| {
        voter.node == own
            || voter.node != node
                && peers.is_alive(voter.node)
                && peers.reports_lost(voter.node, node)
    });
    (witnesses.count() > voters.len() / 2).then_some(Lost { term, node })
}

/// Shards with a campaign under way.
#[derive(Default)]
struct Campaigning(Mutex<BTreeSet<ShardId>>);

impl Campaigning {
    fn begin(&self, shard: ShardId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard)
    }

    fn end(&self, shard: ShardId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }
}

fn campaign(consensus: &Arc<Consensus>, group: Group, lost: Lost, campaigning: &Arc<Campaigning>) {
    let shard = group.shard();
    if !campaigning.begin(shard) {
        return;
    }
    let rank = rank(consensus, &group, lost.node);
    let (consensus, campaigning) = (Arc::clone(consensus), Arc::clone(campaigning));
    let tasks = consensus.tasks().clone();
    tasks.spawn(&format!("campaign-{shard}"), OnExit::Log, async move {
        run(&consensus, &group, lost, rank).await;
        campaigning.end(shard);
    });
}

/// This replica's place among the live voters.
fn rank(consensus: &Consensus, group: &Group, lost: NodeId) -> u32 {
    let own = group.replica();
    let before = group.members().into_iter().filter(|member| {
        let is_live = member.node != lost && consensus.peer_table().is_alive(member.node);
        member.is_voter && member.replica < own && is_live
    });
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

async fn run(consensus: &Consensus, group: &Group, lost: Lost, rank: u32) {
    let mut rng = Rng::from_entropy();
    tokio::time::sleep(consensus.peer_table().config().rank_delay * rank).await;
    for attempt in 0..ATTEMPTS_MAX {
        if is_settled(consensus, group, lost) {
            return;
        }
        tracing::info!(
            shard = %group.shard(), node = %lost.node, term = %lost.term, rank, attempt,
            "campaigning: the leader's node is dead"
        );
        metrics::fast_elections().increment(1);
        if group.raft().trigger().elect(false).await.is_err() {
            return;
        }
        tokio::time::sleep(rng.jitter(ATTEMPT_PAUSE, 0.5)).await;
    }
}

/// Whether the group has a leader that may be alive, or the lost one is back.
fn is_settled(consensus: &Consensus, group: &Group, lost: Lost) -> bool {
    let status = group.status();
    let status = status.borrow();
    match status.leader {
        Some((_, node)) if node == lost.node => !consensus.peer_table().is_lost(node),
        Some(_) => true,
        None => matches!(status.role, Role::Stopped | Role::Learner),
    }
}
