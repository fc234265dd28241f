//! The members of the shards this node leads: brought to where the image wants them, one safe step
//! at a time.
//!
//! A new replica follows without a vote until it has caught up; then it votes; then another leads,
//! if the leader is to leave; then those that are to leave lose their vote. Each step is taken from
//! what is there, so it does not matter who took the one before: a new leader goes on where the
//! last one died. And from a record that the metadata group confirms: a node that became leader with
//! an old image would have a replica follow that left for good, and whose data is gone. All that a
//! step is taken by is looked at in one term, and the step is taken in it: the metadata group may
//! take long to answer, and others may have led and settled in the meantime.

mod step;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{ChangeMembersError, Leadership};
use quipu_metadata::{Command, ShardRecord};
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::ReplicaId;

use crate::{Broker, long_poll};
use step::{Standing, Step};

/// Looks again this often, for what no watch announces: how far a replica has come.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long the metadata group may take to say what is so.
const CONFIRM_WAIT: Duration = Duration::from_secs(2);
/// How long the metadata group may take to hear of it.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// Follows images and the shard's leadership until cancelled.
pub(crate) async fn run(broker: Broker, shard: Shard) {
    let mut images = broker.inner.metadata.watch();
    let mut standing = [shard.group().status()];
    loop {
        standing[0].borrow_and_update();
        let image = Arc::clone(&images.borrow_and_update());
        let members = shard.group().members();
        let record = image.shards.get(&shard.id());
        let record = record.filter(|record| step::is_due(record, &members));
        let is_moving = record.is_some();
        if let Some(record) = record.filter(|_| shard.is_ready_leader()) {
            advance(&broker, &shard, record).await;
        }
        let clock = broker.clock();
        // Nothing moves: an image says when something does.
        let wait = if is_moving { INTERVAL } else { INTERVAL * 240 };
        let deadline = Deadline::after(clock, wait);
        long_poll::wait(std::iter::once(&mut images), &mut standing, clock, deadline).await;
    }
}

/// Takes the next step, if one can be taken.
async fn advance(broker: &Broker, shard: &Shard, record: &ShardRecord) {
    let group = shard.group();
    // Before anything is looked at: a step by what was seen in an earlier term is none.
    let Some(leadership) = group.leadership() else { return };
    let standing = Standing {
        own: group.replica(),
        change: group.change_of_members(),
        members: group.members(),
        last: group.positions().last.map_or(0, |last| last.index.get()),
        replication: group.replication(),
    };
    let is_alive = |node| broker.inner.consensus.is_alive(node);
    let step = if record.is_moving() {
        step::next(record, &standing, is_alive)
    } else {
        step::tidy_up(record, &standing)
    };
    let Some(step) = step else { return };
    if !standing.is_half_way() && !is_confirmed(broker, shard, record).await {
        return;
    }
    tracing::info!(shard = %shard.id(), ?step, "members of a shard change");
    quipu_failpoint::hit("broker.replicas.step.before");
    let done = match step {
        Step::Follow { replica, node } => group.add_learner(leadership, replica, node).await,
        Step::Vote(voters) => {
            group.change_voters(leadership, voters.into_iter().collect(), true).await
        }
        Step::Forget(replicas) => group.remove_learners(leadership, replicas).await,
        Step::HandOver(successors) => return hand_over(shard, successors).await,
        Step::Settle(replicas) => return settle(broker, shard, leadership, replicas).await,
    };
    quipu_failpoint::hit("broker.replicas.step.after");
    match done {
        Ok(()) | Err(ChangeMembersError::NotLeader { .. } | ChangeMembersError::Stopped) => {}
        Err(error @ (ChangeMembersError::Refused(_) | ChangeMembersError::LeadershipLost)) => {
            tracing::info!(shard = %shard.id(), %error, "members of a shard stay for now");
        }
    }
}

/// Whether the metadata group, asked now, has the same record, and this replica leads still.
async fn is_confirmed(broker: &Broker, shard: &Shard, record: &ShardRecord) -> bool {
    if quipu_failpoint::is_planted("plant.members.unconfirmed") {
        return true;
    }
    let deadline = Deadline::after(broker.clock(), CONFIRM_WAIT);
    broker.confirm_image(deadline).await
        && broker.image().shards.get(&shard.id()) == Some(record)
        && shard.is_ready_leader()
}

async fn hand_over(shard: &Shard, successors: Vec<ReplicaId>) {
    for successor in successors {
        match shard.group().transfer_leadership(successor).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(shard = %shard.id(), %error, "no successor yet"),
        }
    }
}

/// Says that a move is done. Whoever was deposed and has not heard of it sees members that may be
/// so no more, and nodes would delete replicas that vote: a quorum confirms that it leads, and does
/// so after the metadata group confirmed the record, so that whoever leads next knows the record.
async fn settle(
    broker: &Broker,
    shard: &Shard,
    leadership: Leadership,
    replicas: BTreeSet<ReplicaId>,
) {
    let deadline = Deadline::after(broker.clock(), SETTLE_WAIT);
    if !quipu_failpoint::is_planted("plant.members.deposed-settles")
        && let Err(error) = shard.group().confirm_leadership(leadership, deadline).await
    {
        tracing::info!(shard = %shard.id(), %error, "a move is not done for sure yet");
        return;
    }
    let command = Command::SettleShard { shard: shard.id(), replicas };
    match broker.inner.metadata.propose(command, deadline).await {
        Ok(_) => tracing::info!(shard = %shard.id(), "the replicas of a shard have moved"),
        Err(error) => tracing::warn!(shard = %shard.id(), %error, "a move is not noted yet"),
    }
}
