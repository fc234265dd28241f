//! Why a request is refused as a whole, before the broker sees it.

use quipu_broker::OperationError;
use quipu_types::{Effect, ErrorCode, Retry};

/// What a protocol can get wrong. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A field has no meaning.
    #[error("{field}: {reason}")]
    Malformed {
        /// Its path: `batches[3].topic_id`.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// Something is above a limit.
    #[error("{field}: {actual} is above the limit of {limit}")]
    TooLarge {
        /// What: a path.
        field: String,
        /// What came.
        actual: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The acknowledgement level is unknown.
    #[error("acks: {found} is unknown; use 1 (none), 2 (leader), 3 (quorum)")]
    Acks {
        /// What came.
        found: i32,
    },
    /// The server has a defect.
    #[error("the server failed on this request: its log says more")]
    Panicked,
}

impl Refusal {
    /// All codes that a refusal may have.
    pub(crate) const CODES: [ErrorCode; 4] = [
        ErrorCode::Malformed,
        ErrorCode::RequestTooLarge,
        ErrorCode::InvalidAcks,
        ErrorCode::Internal,
    ];

    /// A field without meaning.
    pub(crate) fn malformed(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { field: field.into(), reason: reason.into() }
    }
}

impl OperationError for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed { .. } => ErrorCode::Malformed,
            Self::TooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::Acks { .. } => ErrorCode::InvalidAcks,
            Self::Panicked => ErrorCode::Internal,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::Acks { .. } => Effect::None,
            Self::Panicked => Effect::Unknown,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::Acks { .. } | Self::Panicked => {
                Retry::Never
            }
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Malformed { field, .. } => vec![("field", field.clone())],
            Self::TooLarge { field, actual, limit } => vec![
                ("field", field.clone()),
                ("actual", actual.to_string()),
                ("limit", limit.to_string()),
            ],
            Self::Acks { found } => {
                vec![("field", "acks".to_owned()), ("found", found.to_string())]
            }
            Self::Panicked => Vec::new(),
        }
    }
}
