//! What a group tells the world about itself.

use std::collections::BTreeSet;

use openraft::ServerState;
use quipu_types::{EntryId, LogIndex, NodeId, ReplicaId, ShardId, Term};

use crate::type_config::{LogId, StoredMembership, TypeConfig, entry_id};

/// A replica's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leads its group.
    Leader {
        /// Whether it has applied an entry of its own term, and so knows everything committed
        /// before.
        is_ready: bool,
    },
    /// Follows a leader, or waits for one.
    Follower,
    /// Follows without a vote.
    Learner,
    /// Campaigns.
    Candidate,
    /// Takes no part any more.
    Stopped,
}

/// A group's state as this replica knows it. Watchers are woken when role, term, leader or members
/// change; the positions are those of that moment (see [`Positions`] for the present).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The term.
    pub term: Term,
    /// This replica's role in it.
    pub role: Role,
    /// The leader, when known.
    pub leader: Option<(ReplicaId, NodeId)>,
    /// The last entry applied here.
    pub applied: Option<EntryId>,
    /// The last entry known here to be committed.
    pub committed: Option<EntryId>,
    /// The last entry in this replica's log.
    pub last: Option<EntryId>,
    /// The last entry that a checkpoint covers.
    pub checkpoint: Option<EntryId>,
    /// The entry that made the present members so.
    pub members_since: Option<EntryId>,
}

impl GroupStatus {
    /// Before anything is known.
    pub(crate) const fn unknown() -> Self {
        Self {
            term: Term::new(0),
            role: Role::Follower,
            leader: None,
            applied: None,
            committed: None,
            last: None,
            checkpoint: None,
            members_since: None,
        }
    }

    /// What watchers wait for; positions move all the time.
    pub(crate) fn is_same_standing(&self, other: &Self) -> bool {
        (self.term, self.role, self.leader, self.members_since)
            == (other.term, other.role, other.leader, other.members_since)
    }
}

/// Where a replica stands in its log right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The last entry in the log.
    pub last: Option<EntryId>,
    /// The last entry known to be committed.
    pub committed: Option<EntryId>,
    /// The last entry applied.
    pub applied: Option<EntryId>,
    /// The last entry a checkpoint covers.
    pub checkpoint: Option<EntryId>,
    /// The last entry purged from the journal.
    pub purged: Option<EntryId>,
}

/// Proof that this replica led the shard in a term. Needed to propose; void once the term is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    shard: ShardId,
    term: Term,
}

impl Leadership {
    pub(crate) const fn new(shard: ShardId, term: Term) -> Self {
        Self { shard, term }
    }

    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }
}

/// One replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The replica.
    pub replica: ReplicaId,
    /// Where it lives.
    pub node: NodeId,
    /// Whether it votes; else it is a learner.
    pub is_voter: bool,
}

/// How far the last change of members has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MembersChange {
    /// Nothing is left of it to do.
    #[default]
    None,
    /// It is not committed yet.
    UnderWay,
    /// Two sets of voters decide together, and nobody may be there who would go on: whoever began
    /// it lost its leadership in between. Go on with [`crate::Group::change_voters`] to this set.
    HalfWay(BTreeSet<ReplicaId>),
}

/// Who was last heard to lead a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The node.
    pub node: NodeId,
    /// In which term.
    pub term: Term,
}

/// The members of a stored membership.
pub(crate) fn members(stored: &StoredMembership) -> Vec<Member> {
    let voters: Vec<u64> = stored.voter_ids().collect();
    let nodes = stored.nodes();
    nodes
        .map(|(replica, place)| Member {
            replica: ReplicaId::new(*replica),
            node: place.node,
            is_voter: voters.contains(replica),
        })
        .collect()
}

/// The role that openraft's state stands for.
pub(crate) fn role(state: ServerState, term: u64, applied: Option<&LogId>) -> Role {
    match state {
        ServerState::Leader => {
            Role::Leader { is_ready: applied.is_some_and(|id| id.leader_id.term == term) }
        }
        ServerState::Follower => Role::Follower,
        ServerState::Learner => Role::Learner,
        ServerState::Candidate => Role::Candidate,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// The status that openraft's metrics stand for.
pub(crate) fn status(metrics: &openraft::RaftMetrics<TypeConfig>) -> GroupStatus {
    let positions = positions(metrics);
    let members = &metrics.membership_config;
    let leader = metrics.current_leader.and_then(|replica| {
        members.get_node(&replica).map(|place| (ReplicaId::new(replica), place.node))
    });
    GroupStatus {
        term: Term::new(metrics.current_term),
        role: role(metrics.state, metrics.current_term, metrics.last_applied.as_ref()),
        leader,
        applied: positions.applied,
        committed: positions.committed,
        last: positions.last,
        checkpoint: positions.checkpoint,
        members_since: members.log_id().as_ref().map(entry_id),
    }
}

/// The positions in openraft's metrics. The term of the last entry is known only once committed.
pub(crate) fn positions(metrics: &openraft::RaftMetrics<TypeConfig>) -> Positions {
    let committed = metrics.local_committed.as_ref().map(entry_id);
    let last = metrics.last_log_index.map(LogIndex::new).map(|index| match committed {
        Some(committed) if committed.index >= index => committed,
        Some(_) | None => EntryId::new(Term::new(metrics.current_term), index),
    });
    Positions {
        last,
        committed,
        applied: metrics.last_applied.as_ref().map(entry_id),
        checkpoint: metrics.snapshot.as_ref().map(entry_id),
        purged: metrics.purged.as_ref().map(entry_id),
    }
}
