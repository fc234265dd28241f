//! What can go wrong with a change of metadata.

use std::time::Duration;

use quipu_types::{Effect, ErrorCode, Retry};

use crate::refusal::Refusal;

/// Pause before a retry that waits for an election.
const SOON: Duration = Duration::from_millis(100);

/// A change of metadata failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The metadata group refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The metadata group had no leader until the deadline. Nothing happened.
    #[error("the metadata group has no leader at the moment: a majority of its nodes must be up")]
    ControllerUnavailable,
    /// The deadline passed after the change was handed over.
    #[error("the deadline passed before the metadata group answered; the change may still happen")]
    Deadline,
    /// The change is larger than one entry.
    #[error("the request has {bytes} bytes, at most {max} fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The answer makes no sense: nodes of different releases, or a defect.
    #[error("the metadata group gave an unreadable answer: {0}")]
    Unreadable(String),
}

impl MetadataError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::ControllerUnavailable => ErrorCode::ControllerUnavailable,
            Self::Deadline => ErrorCode::DeadlineExceeded,
            Self::TooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::Unreadable(_) => ErrorCode::Internal,
        }
    }

    /// Whether the change may have happened, or may still happen.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Refused(_) | Self::ControllerUnavailable | Self::TooLarge { .. } => Effect::None,
            Self::Deadline | Self::Unreadable(_) => Effect::Unknown,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Refused(refusal) => refusal.retry(),
            Self::ControllerUnavailable | Self::Deadline => Retry::After(SOON),
            Self::TooLarge { .. } | Self::Unreadable(_) => Retry::Never,
        }
    }

    /// The values of the sentence by name, for programs.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Refused(refusal) => refusal.fields(),
            Self::TooLarge { bytes, max } => {
                vec![("limit", max.to_string()), ("actual", bytes.to_string())]
            }
            Self::ControllerUnavailable | Self::Deadline | Self::Unreadable(_) => Vec::new(),
        }
    }
}
