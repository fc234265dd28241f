//! What errors of all operations have in common.

use std::time::Duration;

use quipu_types::{Effect, ErrorCode, NodeId, PartitionIndex, Retry, TopicId};

/// Pause before a retry that waits for an election or for a partition to open.
pub const RETRY_SOON: Duration = Duration::from_millis(20);
/// Pause before a retry that waits for a node, a disk or a queue.
pub const RETRY_LATER: Duration = Duration::from_millis(250);

/// The questions every operation's error answers, each by exhaustive match.
pub trait OperationError: std::error::Error {
    /// The stable code.
    fn code(&self) -> ErrorCode;
    /// Whether the operation may have happened.
    fn effect(&self) -> Effect;
    /// What to do about it.
    fn retry(&self) -> Retry;
    /// The values of the message by name, for programs.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

/// The way to a partition's leader is not open. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No topic has the id; the metadata group confirmed it.
    #[error(
        "no topic has id {topic}: it was deleted, perhaps created again under the same name; \
         look the name up again"
    )]
    UnknownTopicId {
        /// The id asked for.
        topic: TopicId,
    },
    /// The topic has fewer partitions.
    #[error(
        "the topic has {partitions} partitions, numbered from 0; there is no partition {index}"
    )]
    UnknownPartition {
        /// The index asked for.
        index: PartitionIndex,
        /// How many there are.
        partitions: usize,
    },
    /// This node does not lead the partition.
    #[error("{}", not_leader(*.leader))]
    NotLeader {
        /// Who does, when known.
        leader: Option<NodeId>,
    },
    /// The partition is being opened on its leader.
    #[error("the partition is being opened")]
    NotReady,
    /// This node could not find out whether the topic exists.
    #[error("the topic is not known here, and the metadata group cannot be asked at the moment")]
    MetadataUnavailable,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopping,
}

/// A sentence about who leads.
pub(crate) fn not_leader(leader: Option<NodeId>) -> String {
    leader.map_or_else(
        || "no leader is known at the moment; an election may be running".to_owned(),
        |node| format!("node {node} leads the partition"),
    )
}

/// The code of a missing leadership.
pub(crate) const fn not_leader_code(leader: Option<NodeId>) -> ErrorCode {
    match leader {
        Some(_) => ErrorCode::NotLeader,
        None => ErrorCode::LeaderUnknown,
    }
}

/// What to do about a missing leadership.
pub(crate) const fn not_leader_retry(leader: Option<NodeId>) -> Retry {
    match leader {
        Some(node) => Retry::At(node),
        None => Retry::After(RETRY_SOON),
    }
}

/// The values of a missing leadership.
pub(crate) fn not_leader_fields(leader: Option<NodeId>) -> Vec<(&'static str, String)> {
    leader.map(|node| ("leader", node.to_string())).into_iter().collect()
}

impl OperationError for RouteError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::NotLeader { leader } => not_leader_code(*leader),
            Self::NotReady => ErrorCode::PartitionNotReady,
            Self::MetadataUnavailable => ErrorCode::ControllerUnavailable,
            Self::Stopping => ErrorCode::Stopping,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::UnknownTopicId { .. }
            | Self::UnknownPartition { .. }
            | Self::NotLeader { .. }
            | Self::NotReady
            | Self::MetadataUnavailable
            | Self::Stopping => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::UnknownTopicId { .. } | Self::UnknownPartition { .. } => Retry::Never,
            Self::NotLeader { leader } => not_leader_retry(*leader),
            Self::NotReady => Retry::After(RETRY_SOON),
            Self::MetadataUnavailable | Self::Stopping => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::UnknownTopicId { topic } => vec![("topic_id", topic.to_string())],
            Self::UnknownPartition { index, partitions } => {
                vec![("partition", index.to_string()), ("partitions", partitions.to_string())]
            }
            Self::NotLeader { leader } => not_leader_fields(*leader),
            Self::NotReady | Self::MetadataUnavailable | Self::Stopping => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
