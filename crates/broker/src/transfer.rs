//! Handing the leadership of a shard to another node.

use quipu_consensus::{CallError, TransferError};
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, NodeId, Retry, ShardId};

use crate::error::{
    OperationError, RETRY_LATER, RETRY_SOON, not_leader, not_leader_code, not_leader_fields,
    not_leader_retry,
};
use crate::{Broker, calls};

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferLeaderError {
    /// There is no such shard.
    #[error("there is no shard {shard}")]
    UnknownShard {
        /// The shard asked for.
        shard: ShardId,
    },
    /// The node has no replica of the shard that votes.
    #[error("node {node} has no voting replica of shard {shard}")]
    NoReplica {
        /// The shard.
        shard: ShardId,
        /// The node asked for.
        node: NodeId,
    },
    /// The group did not do it.
    #[error("{}", group_words(.0))]
    Group(TransferError),
    /// The shard's leader, on another node, did not do it.
    #[error("ask node {node}, which leads the shard: {source}")]
    Call {
        /// The leader.
        node: NodeId,
        /// What went wrong.
        source: CallError,
    },
}

fn group_words(error: &TransferError) -> String {
    if let TransferError::NotLeader { leader } = error {
        not_leader(*leader)
    } else {
        error.to_string()
    }
}

impl OperationError for TransferLeaderError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownShard { .. } | Self::NoReplica { .. } => ErrorCode::Malformed,
            Self::Group(TransferError::NotLeader { leader }) => not_leader_code(*leader),
            Self::Group(TransferError::NotVoter(_)) => ErrorCode::Malformed,
            Self::Group(TransferError::NotAlive(_) | TransferError::Behind { .. }) => {
                ErrorCode::NotEnoughReplicas
            }
            Self::Group(TransferError::NotTaken(_)) => ErrorCode::DeadlineExceeded,
            Self::Group(TransferError::Stopped) => ErrorCode::Stopping,
            Self::Call { source: CallError::Deadline, .. } => ErrorCode::DeadlineExceeded,
            Self::Call { source: CallError::Refused(_), .. } => ErrorCode::NotEnoughReplicas,
            Self::Call {
                source:
                    CallError::Unreachable { .. } | CallError::Lost { .. } | CallError::NoHandler { .. },
                ..
            } => ErrorCode::LeaderUnknown,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::UnknownShard { .. }
            | Self::NoReplica { .. }
            | Self::Group(
                TransferError::NotLeader { .. }
                | TransferError::NotVoter(_)
                | TransferError::NotAlive(_)
                | TransferError::Behind { .. }
                | TransferError::Stopped,
            ) => Effect::None,
            Self::Group(TransferError::NotTaken(_)) => Effect::Unknown,
            Self::Call { source, .. } => source.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::UnknownShard { .. }
            | Self::NoReplica { .. }
            | Self::Group(TransferError::NotVoter(_)) => Retry::Never,
            Self::Group(TransferError::NotLeader { leader }) => not_leader_retry(*leader),
            Self::Group(
                TransferError::NotAlive(_) | TransferError::Behind { .. } | TransferError::Stopped,
            ) => Retry::After(RETRY_LATER),
            Self::Group(TransferError::NotTaken(_)) => Retry::After(RETRY_SOON),
            Self::Call { .. } => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::UnknownShard { shard } => {
                vec![("field", "shard".to_owned()), ("shard", shard.to_string())]
            }
            Self::NoReplica { shard, node } => vec![
                ("field", "to_node".to_owned()),
                ("shard", shard.to_string()),
                ("node", node.to_string()),
            ],
            Self::Group(TransferError::NotLeader { leader }) => not_leader_fields(*leader),
            Self::Group(TransferError::Behind { entries, .. }) => {
                vec![("entries", entries.to_string())]
            }
            Self::Group(
                TransferError::NotVoter(_)
                | TransferError::NotAlive(_)
                | TransferError::NotTaken(_)
                | TransferError::Stopped,
            ) => Vec::new(),
            Self::Call { node, .. } => vec![("node", node.to_string())],
        }
    }
}

impl Broker {
    /// Has the leader of a shard hand over to a node, wherever the leader is. Done already is done.
    ///
    /// # Errors
    /// [`TransferLeaderError`]; leadership stays where it is, or an election decides.
    pub async fn transfer_leader(
        &self,
        shard: ShardId,
        node: NodeId,
        deadline: Deadline,
    ) -> Result<(), TransferLeaderError> {
        let image = self.image();
        if shard != ShardId::METADATA && !image.shards.contains_key(&shard) {
            return Err(TransferLeaderError::UnknownShard { shard });
        }
        if !self.may_lead(&image, shard, node) {
            return Err(TransferLeaderError::NoReplica { shard, node });
        }
        match self.transfer_own(shard, node).await {
            Err(TransferLeaderError::Group(TransferError::NotLeader { leader: Some(leader) }))
                if leader != self.inner.node =>
            {
                if leader == node {
                    return Ok(());
                }
                let payload = calls::encode_transfer(shard, node);
                let consensus = &self.inner.consensus;
                let call = consensus.call(leader, calls::TRANSFER_LEADER, payload, deadline);
                let called = call.await.map(drop);
                called.map_err(|source| TransferLeaderError::Call { node: leader, source })
            }
            answered => answered,
        }
    }

    /// Whether a node has a replica of the shard, as far as this node knows.
    fn may_lead(&self, image: &Image, shard: ShardId, node: NodeId) -> bool {
        let members = match self.inner.consensus.group(shard) {
            Some(group) => group.members().into_iter().map(|member| member.node).collect(),
            None => Vec::new(),
        };
        members.contains(&node)
            || Self::replica_nodes(image, shard).contains(&node)
            // Who has no replica of the metadata group does not know who has.
            || (shard == ShardId::METADATA && members.is_empty())
    }

    /// Hands over a leadership of this node.
    pub(crate) async fn transfer_own(
        &self,
        shard: ShardId,
        node: NodeId,
    ) -> Result<(), TransferLeaderError> {
        let not_leader = || {
            let leader = self.leader_elsewhere(shard);
            TransferLeaderError::Group(TransferError::NotLeader { leader })
        };
        let group = self.inner.consensus.group(shard).ok_or_else(not_leader)?;
        if group.leadership().is_none() {
            return Err(not_leader());
        }
        if node == self.inner.node {
            return Ok(());
        }
        let members = group.members();
        let successor = members.iter().find(|member| member.node == node && member.is_voter);
        let successor = successor.ok_or(TransferLeaderError::NoReplica { shard, node })?;
        let transferred = group.transfer_leadership(successor.replica).await;
        transferred.map_err(TransferLeaderError::Group)
    }
}
