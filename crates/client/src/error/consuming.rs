//! What can go wrong for a member of a group.

use std::sync::Arc;
use std::time::Duration;

use quipu_types::ErrorCode;

use super::Error;

/// Why a message does not count as processed: it will be delivered again, perhaps to another
/// member.
///
/// ```
/// use quipu_client::{AckError, Error};
///
/// fn is_worth_an_alarm(error: &AckError) -> bool {
///     matches!(error, AckError::Failed(_))
/// }
/// # assert!(is_worth_an_alarm(&AckError::Failed(Error::Closed)));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The partition is not this member's any more, or its position was set elsewhere meanwhile.
    #[error("the partition was taken from this member before the position was committed")]
    AssignmentLost,
    /// The member was silent, or its handler busy, for too long: the group went on without it.
    #[error("the membership expired before the position was committed")]
    Expired,
    /// The position could not be committed; it may have been if the error's effect is unknown.
    #[error(transparent)]
    Failed(Error),
}

impl From<AckError> for Error {
    fn from(error: AckError) -> Self {
        let text = error.to_string();
        match error {
            AckError::AssignmentLost => Self::local(ErrorCode::StaleMemberEpoch, text),
            AckError::Expired => Self::local(ErrorCode::UnknownMember, text),
            AckError::Failed(error) => error,
        }
    }
}

/// A group that starts nowhere by itself has no position in a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "group {group:?} has no position in {topic}/{partition} and was told not to choose one; \
     commit one, or say where to start"
)]
pub struct NoPosition {
    /// The group.
    pub group: Arc<str>,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
}

/// A message was not acknowledged within the processing timeout; the member left its group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topic}/{partition}@{offset} was not acknowledged within {} s: the member left its group; \
     the next call joins again", limit.as_secs_f64()
)]
pub struct ProcessingTimeout {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The message that was handed out first of those that are late.
    pub offset: u64,
    /// The processing timeout.
    pub limit: Duration,
}

/// Why a run ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError<E> {
    /// The handler failed; its message is not acknowledged.
    #[error("handle {topic}/{partition}@{offset}: {error}")]
    Handler {
        /// What it said.
        error: E,
        /// The topic's name.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// The message.
        offset: u64,
    },
    /// The consumer failed.
    #[error(transparent)]
    Consumer(Error),
}
