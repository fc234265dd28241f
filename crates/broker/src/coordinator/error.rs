//! Why something asked of a consumer group was not done.

use quipu_consensus::ReadIndexError;
use quipu_coordinator::{InvalidGroupName, InvalidMemberId, Refusal};
use quipu_shard::ControlError;
use quipu_types::{Effect, ErrorCode, NodeId, PartitionId, Retry};

use crate::error::{
    OperationError, RETRY_LATER, RETRY_SOON, RouteError, not_leader_code, not_leader_fields,
    not_leader_retry,
};

/// A failure of a group's operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The name of the group breaks the rule.
    #[error(transparent)]
    InvalidGroup(#[from] InvalidGroupName),
    /// The id of the member breaks the rule.
    #[error("{field}: {source}")]
    InvalidMember {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        source: InvalidMemberId,
    },
    /// The subscription means nothing.
    #[error("{0}")]
    InvalidSubscription(String),
    /// A value is out of its bounds.
    #[error("{field} is {actual}; it must be {bounds}")]
    OutOfBounds {
        /// Which field.
        field: &'static str,
        /// As given.
        actual: u64,
        /// What is allowed.
        bounds: String,
    },
    /// A position that cannot be stored.
    #[error("position in partition {partition}: {reason}")]
    InvalidCommit {
        /// Of which partition.
        partition: PartitionId,
        /// What is wrong.
        reason: String,
    },
    /// What was asked does not fit into one log entry.
    #[error("the change of the group takes {actual} bytes; at most {limit} are possible")]
    TooLarge {
        /// Its size.
        actual: usize,
        /// What fits.
        limit: usize,
    },
    /// Another node coordinates the group, or nobody does at the moment.
    #[error("{}", not_coordinator(*.leader))]
    NotCoordinator {
        /// Who does, when known.
        leader: Option<NodeId>,
    },
    /// This node cannot answer yet, or not any more.
    #[error(transparent)]
    Route(RouteError),
    /// The cluster is being formed.
    #[error("the cluster is being formed: it has no coordinator yet")]
    NotFormed,
    /// The group's state machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The change has no outcome.
    #[error("change the group: {0}")]
    Control(ControlError),
    /// Leadership could not be confirmed.
    #[error("confirm that this node coordinates the group: {0}")]
    Unconfirmed(ReadIndexError),
    /// Another stream of the same member took over.
    #[error("another stream of member {member} took over")]
    Superseded {
        /// The member.
        member: String,
    },
}

fn not_coordinator(leader: Option<NodeId>) -> String {
    leader.map_or_else(
        || "no coordinator is known at the moment; an election may be running".to_owned(),
        |node| format!("node {node} coordinates the group"),
    )
}

impl From<RouteError> for GroupError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotLeader { leader } => Self::NotCoordinator { leader },
            RouteError::UnknownTopicId { .. }
            | RouteError::UnknownPartition { .. }
            | RouteError::NotReady
            | RouteError::MetadataUnavailable
            | RouteError::Stopping => Self::Route(error),
        }
    }
}

impl From<ControlError> for GroupError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotLeader { leader } => Self::NotCoordinator { leader },
            ControlError::LeadershipLost
            | ControlError::Deadline
            | ControlError::Overloaded
            | ControlError::Stopping
            | ControlError::Reply => Self::Control(error),
        }
    }
}

impl OperationError for GroupError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidGroup(_) | Self::InvalidMember { .. } => ErrorCode::InvalidGroup,
            Self::InvalidSubscription(_) => ErrorCode::InvalidSubscription,
            Self::OutOfBounds { .. } => ErrorCode::Malformed,
            Self::InvalidCommit { .. } => ErrorCode::InvalidCommit,
            Self::TooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::NotCoordinator { leader } => not_leader_code(*leader),
            Self::Route(error) => error.code(),
            Self::NotFormed => ErrorCode::ControllerUnavailable,
            Self::Refused(refusal) => refusal.code(),
            Self::Control(ControlError::Deadline) => ErrorCode::DeadlineExceeded,
            Self::Control(ControlError::Overloaded) => ErrorCode::Overloaded,
            Self::Control(ControlError::Stopping) => ErrorCode::Stopping,
            Self::Control(
                ControlError::LeadershipLost | ControlError::NotLeader { .. } | ControlError::Reply,
            ) => ErrorCode::LeadershipLost,
            Self::Unconfirmed(ReadIndexError::NotLeader { leader }) => not_leader_code(*leader),
            Self::Unconfirmed(ReadIndexError::NoQuorum) => ErrorCode::LeadershipLost,
            Self::Unconfirmed(ReadIndexError::Deadline) => ErrorCode::DeadlineExceeded,
            Self::Unconfirmed(ReadIndexError::Stopped) => ErrorCode::Stopping,
            Self::Superseded { .. } => ErrorCode::UnknownMember,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Control(error) => error.effect(),
            Self::InvalidGroup(_)
            | Self::InvalidMember { .. }
            | Self::InvalidSubscription(_)
            | Self::OutOfBounds { .. }
            | Self::InvalidCommit { .. }
            | Self::TooLarge { .. }
            | Self::NotCoordinator { .. }
            | Self::Route(_)
            | Self::NotFormed
            | Self::Refused(_)
            | Self::Unconfirmed(_)
            | Self::Superseded { .. } => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::InvalidGroup(_)
            | Self::InvalidMember { .. }
            | Self::InvalidSubscription(_)
            | Self::OutOfBounds { .. }
            | Self::InvalidCommit { .. }
            | Self::TooLarge { .. }
            | Self::Superseded { .. } => Retry::Never,
            Self::NotCoordinator { leader } => not_leader_retry(*leader),
            Self::Route(error) => error.retry(),
            Self::NotFormed => Retry::After(RETRY_LATER),
            Self::Refused(refusal) => refusal.retry(),
            Self::Control(error) => error.retry(),
            Self::Unconfirmed(ReadIndexError::NotLeader { leader }) => not_leader_retry(*leader),
            Self::Unconfirmed(
                ReadIndexError::NoQuorum | ReadIndexError::Deadline | ReadIndexError::Stopped,
            ) => Retry::After(RETRY_SOON),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::OutOfBounds { field, actual, bounds } => vec![
                ("field", (*field).to_owned()),
                ("actual", actual.to_string()),
                ("limit", bounds.clone()),
            ],
            Self::TooLarge { actual, limit } => {
                vec![("actual", actual.to_string()), ("limit", limit.to_string())]
            }
            Self::InvalidCommit { partition, .. } => vec![("partition", partition.to_string())],
            Self::NotCoordinator { leader } => not_leader_fields(*leader),
            Self::Route(error) => error.fields(),
            Self::InvalidMember { field, .. } => vec![("field", (*field).to_owned())],
            Self::Superseded { member } => vec![("member", member.clone())],
            Self::InvalidGroup(_)
            | Self::InvalidSubscription(_)
            | Self::NotFormed
            | Self::Refused(_)
            | Self::Control(_)
            | Self::Unconfirmed(_) => Vec::new(),
        }
    }
}
