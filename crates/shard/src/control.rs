//! One change of what a shard hosts, as its caller sees it.

use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::{Consensus, ProposeError};
use quipu_runtime::{Clock, Deadline};
use quipu_types::{Effect, LeaderEpoch, NodeId, Progress, Retry, ShardId, TimestampMs};
use tokio::sync::oneshot;

use crate::bundle::{Bundle, Command, PartitionControl};
use crate::reply::{self, Outcome};

/// Pause before a retry.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// What became of a [`PartitionControl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// The partition is hosted.
    Opened {
        /// Whether it was not before.
        is_new: bool,
    },
    /// The partition is not hosted any more.
    Closed,
    /// The prefix is gone.
    Trimmed(Progress),
    /// The shard did not host the partition, or does not show it.
    UnknownPartition,
    /// A batch of a partition that moves here is there.
    Imported(Progress),
    /// The partition does not change any more.
    Sealed {
        /// The last leader epoch that it may have.
        epoch: LeaderEpoch,
        /// What the other shard goes on from.
        state: Bytes,
    },
    /// The partition is not at the stage that the command is for: somebody was faster.
    Misplaced,
}

/// Why a change of what a shard hosts has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Another node leads the shard, or nobody does at the moment. Not proposed.
    #[error("not the leader of the shard")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// Leadership was lost after the command was proposed.
    #[error("leadership was lost while the command was under way")]
    LeadershipLost,
    /// The deadline passed; the command may still be applied.
    #[error("the deadline passed before the command was applied")]
    Deadline,
    /// The shard's queue is full. Not proposed.
    #[error("the shard's queue is full")]
    Overloaded,
    /// The node is shutting down. Not proposed.
    #[error("the node is shutting down")]
    Stopping,
    /// The answer does not fit the command: the other node runs another release.
    #[error("the reply to the command could not be read")]
    Reply,
}

impl ControlError {
    /// Whether the command may have been applied.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotLeader { .. } | Self::Overloaded | Self::Stopping => Effect::None,
            Self::LeadershipLost | Self::Deadline | Self::Reply => Effect::Unknown,
        }
    }

    /// What to do about it: every control command may be repeated.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None }
            | Self::LeadershipLost
            | Self::Deadline
            | Self::Overloaded
            | Self::Stopping => Retry::After(RETRY_SOON),
            Self::Reply => Retry::Never,
        }
    }
}

/// How a waiting control command hears of its end.
pub(crate) type ControlAnswer = oneshot::Sender<Result<ControlOutcome, ControlError>>;

/// Proposes a command at another node, which leads the shard. For callers without a replica of
/// it, such as the controller.
///
/// Dropping the future does not cancel the command.
///
/// # Errors
/// [`ControlError`]; `NotLeader` names the node to ask next.
pub async fn control_at(
    consensus: &Consensus,
    (node, shard): (NodeId, ShardId),
    command: PartitionControl,
    clock: &Clock,
    deadline: Deadline,
) -> Result<ControlOutcome, ControlError> {
    let now = TimestampMs::new(clock.wall_ms());
    let bytes = Bundle::single(now, Command::Control(command)).encode();
    let reply = consensus.forward(node, shard, bytes, deadline).await.map_err(from_propose)?;
    let outcomes = reply::decode(&reply.0).map_err(|_| ControlError::Reply)?;
    match outcomes.as_slice() {
        [outcome] => to_control(outcome),
        _ => Err(ControlError::Reply),
    }
}

/// The outcome of a control command.
pub(crate) fn to_control(outcome: &Outcome) -> Result<ControlOutcome, ControlError> {
    match outcome {
        Outcome::Opened { is_new } => Ok(ControlOutcome::Opened { is_new: *is_new }),
        Outcome::Closed => Ok(ControlOutcome::Closed),
        Outcome::Trimmed(progress) => Ok(ControlOutcome::Trimmed(*progress)),
        Outcome::UnknownPartition => Ok(ControlOutcome::UnknownPartition),
        Outcome::Imported(progress) => Ok(ControlOutcome::Imported(*progress)),
        Outcome::Sealed { epoch, state } => {
            Ok(ControlOutcome::Sealed { epoch: *epoch, state: state.clone() })
        }
        Outcome::Misplaced => Ok(ControlOutcome::Misplaced),
        Outcome::Appended(_) | Outcome::Refused(_) | Outcome::Group(_) => Err(ControlError::Reply),
    }
}

fn from_propose(error: ProposeError) -> ControlError {
    match error {
        ProposeError::NotLeader { leader } => ControlError::NotLeader { leader },
        ProposeError::LeadershipLost | ProposeError::Stopped => ControlError::LeadershipLost,
        ProposeError::Deadline => ControlError::Deadline,
        ProposeError::TooLarge { .. } => ControlError::Overloaded,
    }
}
