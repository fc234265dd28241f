//! Why a partition cannot be read.

use std::time::Duration;

use quipu_partition::ReadError;
use quipu_types::{Effect, ErrorCode, Offset, Retry};

use crate::error::{OperationError, RETRY_LATER, RouteError};

/// A peer's copy of a segment takes about this long.
const RETRY_MENDED: Duration = Duration::from_secs(1);

/// Why a partition cannot be read. Reads have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The way to the partition's leader is not open.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The offset is below the log start or above the high watermark.
    #[error("offset {asked} is out of range: the partition has {log_start} up to {high_watermark}")]
    OffsetOutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// First kept offset.
        log_start: Offset,
        /// First offset that is not readable yet.
        high_watermark: Offset,
    },
    /// Stored bytes failed their checksum; they are never served.
    #[error("stored bytes are damaged: {words}")]
    Corrupt {
        /// File, position, what was expected and found.
        words: String,
        /// Where it was read.
        asked: Offset,
        /// Whether a peer's copy is on its way.
        is_mending: bool,
    },
    /// The disk failed.
    #[error("reading failed: {words}")]
    Io {
        /// What the system said.
        words: String,
    },
}

impl FetchError {
    /// What a partition's refusal means to the caller who asked for `asked`.
    pub(crate) fn from_read(error: &ReadError, asked: Offset) -> Self {
        let words = error.to_string();
        match error {
            ReadError::OffsetOutOfRange { log_start, high_watermark, .. } => {
                let (log_start, high_watermark) = (*log_start, *high_watermark);
                Self::OffsetOutOfRange { asked, log_start, high_watermark }
            }
            ReadError::Closed => Self::Route(RouteError::NotReady),
            ReadError::Corrupt(_) => Self::Corrupt { words, asked, is_mending: false },
            ReadError::Io(_) => Self::Io { words },
        }
    }
}

impl OperationError for FetchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Route(error) => error.code(),
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Corrupt { .. } => ErrorCode::DataCorrupt,
            Self::Io { .. } => ErrorCode::Internal,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Route(error) => error.effect(),
            Self::OffsetOutOfRange { .. } | Self::Corrupt { .. } | Self::Io { .. } => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Route(error) => error.retry(),
            Self::Corrupt { is_mending: true, .. } => Retry::After(RETRY_MENDED),
            Self::OffsetOutOfRange { .. } | Self::Corrupt { .. } => Retry::Never,
            Self::Io { .. } => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Route(error) => error.fields(),
            Self::OffsetOutOfRange { asked, log_start, high_watermark } => vec![
                ("offset", asked.to_string()),
                ("log_start", log_start.to_string()),
                ("high_watermark", high_watermark.to_string()),
            ],
            Self::Corrupt { .. } | Self::Io { .. } => Vec::new(),
        }
    }
}
