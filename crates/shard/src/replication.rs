//! What the bundler needs from consensus: a seam, so that its decisions are tested alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use quipu_consensus::{Consensus, Group, Leadership, ProposeError, Role};
use quipu_types::{LogIndex, NodeId, PartitionId, Progress, ShardId};

use crate::table::PartitionTable;

/// This replica's place in its group, as far as proposing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<W> {
    /// Leads, and has applied the first entry of its own term.
    Leader(W),
    /// Leads, but may not have applied yet what earlier leaders promised.
    Rising,
    /// Does not lead.
    Follower { leader: Option<NodeId> },
    /// The group has been shut down.
    Stopped,
}

/// Replicas that vote, and how many of them answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) live: usize,
    pub(crate) voters: usize,
}

impl Live {
    /// What an append with `min_insync` must reach: never less than Raft's majority.
    pub(crate) fn required(self, min_insync: u8) -> usize {
        self.majority().max(usize::from(min_insync))
    }

    /// More than half of the voters.
    pub(crate) const fn majority(self) -> usize {
        self.voters / 2 + 1
    }
}

/// Why a proposal has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproposed {
    /// Refused before anything was written.
    NotLeader { leader: Option<NodeId> },
    /// May have been written.
    Lost,
    /// Refused: larger than an entry may be.
    TooLarge,
}

/// Called when the leader's own disk has the entry.
pub(crate) type OnFlushed = Box<dyn FnOnce() + Send>;
/// The index and the reply of an applied entry.
pub(crate) type Applied = Result<(LogIndex, Bytes), Unproposed>;

/// One Raft group as the bundler sees it.
pub(crate) trait Replication: Send + Sync + 'static {
    /// Proof of leadership in a term.
    type Witness: Copy + Send + 'static;

    fn standing(&self) -> Standing<Self::Witness>;
    /// Ready when the standing is not [`Standing::Rising`].
    fn risen(&self) -> BoxFuture<'static, ()>;
    fn live(&self) -> Live;
    /// How far a hosted partition has come.
    fn progress(&self, partition: PartitionId) -> Option<Progress>;
    /// Voters that have flushed the entry at `index`; `None` when not leading any more.
    fn flushed_by(&self, index: LogIndex) -> Option<usize>;
    /// A bundle with so many bytes of appends was applied after so long.
    fn felt(&self, bytes: usize, took: Duration);
    /// Proposes in call order, even before the future is polled.
    fn propose(
        &self,
        witness: Self::Witness,
        command: Bytes,
        on_flushed: Option<OnFlushed>,
    ) -> BoxFuture<'static, Applied>;
}

/// The real one.
pub(crate) struct GroupReplication {
    pub(crate) shard: ShardId,
    pub(crate) group: Group,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) table: Arc<PartitionTable>,
}

impl GroupReplication {
    /// Who else leads, if that is known and the node answers.
    fn leader(&self) -> Option<NodeId> {
        let own = self.group.replica();
        let known = self.group.status().borrow().leader;
        let leader = match known {
            Some((replica, node)) => (replica != own).then_some(node),
            None => self.consensus.leader_hint(self.shard).map(|hint| hint.node),
        };
        leader.filter(|node| self.consensus.is_alive(*node))
    }
}

impl Replication for GroupReplication {
    type Witness = Leadership;

    fn standing(&self) -> Standing<Leadership> {
        let role = self.group.status().borrow().role;
        match (role, self.group.leadership()) {
            (Role::Stopped, _) => Standing::Stopped,
            (Role::Leader { is_ready: true }, Some(leadership)) => Standing::Leader(leadership),
            (Role::Leader { is_ready: false }, Some(_)) => Standing::Rising,
            (Role::Leader { .. } | Role::Follower | Role::Learner | Role::Candidate, _) => {
                Standing::Follower { leader: self.leader() }
            }
        }
    }

    fn risen(&self) -> BoxFuture<'static, ()> {
        let mut status = self.group.status();
        Box::pin(async move {
            // An error means that the group is gone: that is not rising either.
            let _ = status
                .wait_for(|status| !matches!(status.role, Role::Leader { is_ready: false }))
                .await;
        })
    }

    fn live(&self) -> Live {
        let own = self.group.replica();
        let voters = self.group.members().into_iter().filter(|member| member.is_voter);
        let (mut live, mut count) = (0, 0);
        for member in voters {
            count += 1;
            live += usize::from(member.replica == own || self.consensus.is_alive(member.node));
        }
        Live { live, voters: count }
    }

    fn progress(&self, partition: PartitionId) -> Option<Progress> {
        self.table.progress(partition)
    }

    fn flushed_by(&self, index: LogIndex) -> Option<usize> {
        self.group.leadership()?;
        let members = self.group.members();
        let votes = |replica| members.iter().any(|one| one.is_voter && one.replica == replica);
        let flushed = self.group.replication().into_iter();
        let has_it = |matched: Option<LogIndex>| matched >= Some(index);
        Some(flushed.filter(|(replica, _, matched)| has_it(*matched) && votes(*replica)).count())
    }

    fn felt(&self, bytes: usize, took: Duration) {
        self.consensus.felt(bytes, took);
    }

    fn propose(
        &self,
        witness: Leadership,
        command: Bytes,
        on_flushed: Option<OnFlushed>,
    ) -> BoxFuture<'static, Applied> {
        let proposed = self.group.propose(witness, command, on_flushed);
        Box::pin(async move {
            match proposed.await {
                Ok(proposed) => Ok((proposed.id.index, proposed.reply.0)),
                Err(error) => Err(unproposed(&error)),
            }
        })
    }
}

/// What a failed proposal means for those who wait.
pub(crate) const fn unproposed(error: &ProposeError) -> Unproposed {
    match error {
        ProposeError::NotLeader { leader } => Unproposed::NotLeader { leader: *leader },
        ProposeError::LeadershipLost | ProposeError::Deadline | ProposeError::Stopped => {
            Unproposed::Lost
        }
        ProposeError::TooLarge { .. } => Unproposed::TooLarge,
    }
}
