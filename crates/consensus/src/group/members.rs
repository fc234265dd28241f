//! Who belongs to the group, and how that changes.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use quipu_types::{LogIndex, NodeId, ReplicaId};

use super::Group;
use crate::error::{ChangeMembersError, InitializeError};
use crate::status::{self, Leadership, Member, MembersChange};
use crate::type_config::{LeaderOfTerm, Place, TypeConfig, entry_id};

impl Group {
    /// All members, as this replica knows them.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        status::members(&self.inner.raft.metrics().borrow_watched().membership_config)
    }

    /// How far the last change of members has come.
    #[must_use]
    pub fn change_of_members(&self) -> MembersChange {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        if *members.log_id() > metrics.local_committed {
            return MembersChange::UnderWay;
        }
        match members.membership().get_joint_config().as_slice() {
            [_, .., target] => {
                MembersChange::HalfWay(target.iter().copied().map(ReplicaId::new).collect())
            }
            [] | [_] => MembersChange::None,
        }
    }

    /// How far each member's disk agrees with the leader's log, itself included. Empty elsewhere.
    #[must_use]
    pub fn replication(&self) -> Vec<(ReplicaId, NodeId, Option<LogIndex>)> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matches = metrics.replication.iter().flatten();
        matches
            .filter_map(|(replica, matched)| {
                let place = metrics.membership_config.get_node(replica)?;
                let index = matched.as_ref().map(|id| entry_id(id).index);
                Some((ReplicaId::new(*replica), place.node, index))
            })
            .collect()
    }

    /// Forms the group out of these voters. Called once, on one of them, which then campaigns at
    /// once.
    ///
    /// # Errors
    /// `Already` when the group has a log: then another has formed it, or will.
    pub async fn initialize(
        &self,
        members: Vec<(ReplicaId, NodeId)>,
    ) -> Result<(), InitializeError> {
        let places: BTreeMap<u64, Place> =
            members.into_iter().map(|(replica, node)| (replica.get(), Place { node })).collect();
        let formed = self.inner.raft.initialize(places).await;
        formed.map_err(|error| match error {
            RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_)) => {
                InitializeError::Already
            }
            RaftError::APIError(openraft::errors::InitializeError::NotInMembers(_)) => {
                InitializeError::NotMember
            }
            RaftError::Fatal(_) => InitializeError::Stopped,
        })
    }

    /// Whether the group was formed, as far as this replica knows.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.inner.raft.metrics().borrow_watched().membership_config.nodes().next().is_some()
    }

    /// Adds a replica without a vote; returns once the change is committed, not once it has caught
    /// up (see [`Self::replication`]).
    ///
    /// Members change in the term of the witness or not at all: whoever decided on a change by what
    /// it saw as the leader may lead again by the time it says so, and others led in between.
    ///
    /// # Errors
    /// `LeadershipLost`: the change may still happen.
    pub async fn add_learner(
        &self,
        leadership: Leadership,
        replica: ReplicaId,
        node: NodeId,
    ) -> Result<(), ChangeMembersError> {
        let place = BTreeMap::from([(replica.get(), Place { node })]);
        self.change_members(leadership, ChangeMembers::AddNodes(place), true).await
    }

    /// Makes exactly these replicas the voters, through a joint membership. All must be members
    /// already. Former voters leave, or stay as learners when `keep_removed`. In the term of the
    /// witness, as [`Self::add_learner`].
    ///
    /// # Errors
    /// `LeadershipLost`: the change may still happen.
    pub async fn change_voters(
        &self,
        leadership: Leadership,
        voters: Vec<ReplicaId>,
        keep_removed: bool,
    ) -> Result<(), ChangeMembersError> {
        let voters: BTreeSet<u64> = voters.into_iter().map(ReplicaId::get).collect();
        self.change_members(leadership, ChangeMembers::from(voters), keep_removed).await
    }

    /// Removes replicas without a vote. In the term of the witness, as [`Self::add_learner`].
    ///
    /// # Errors
    /// `LeadershipLost`: the change may still happen.
    pub async fn remove_learners(
        &self,
        leadership: Leadership,
        replicas: Vec<ReplicaId>,
    ) -> Result<(), ChangeMembersError> {
        let replicas: BTreeSet<u64> = replicas.into_iter().map(ReplicaId::get).collect();
        self.change_members(leadership, ChangeMembers::RemoveNodes(replicas), false).await
    }

    async fn change_members(
        &self,
        leadership: Leadership,
        change: ChangeMembers<u64, Place>,
        keep_removed: bool,
    ) -> Result<(), ChangeMembersError> {
        assert_eq!(leadership.shard(), self.inner.shard, "the witness is of another shard");
        // The core itself looks, as it writes the entry: a look from here could be old by then.
        let in_term = Precondition::CommittedLeaderId {
            committed_leader_id: LeaderOfTerm::new(leadership.term().get()),
        };
        let is_planted = quipu_failpoint::is_planted("plant.members.any-term");
        let in_term = (!is_planted).then_some(in_term);
        let changed = self.inner.raft.change_membership_if(change, keep_removed, in_term).await;
        changed.map(drop).map_err(|error| self.unchanged(error))
    }

    fn unchanged(
        &self,
        error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
    ) -> ChangeMembersError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ChangeMembersError::NotLeader { leader: self.forwarded(&to) }
            }
            // A term that is over may be over only for the second half of a change.
            RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
            ) => ChangeMembersError::LeadershipLost,
            RaftError::APIError(error @ ClientWriteError::ChangeMembershipError(_)) => {
                ChangeMembersError::Refused(error.to_string())
            }
            RaftError::Fatal(_) => ChangeMembersError::Stopped,
        }
    }
}
