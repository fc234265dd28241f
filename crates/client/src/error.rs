//! What can go wrong, whether it may have happened, and what to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quipu_types::{Effect, ErrorCode, Retry};

use crate::metrics::SkipReason;

mod consuming;
mod server;
mod transport;

pub use consuming::{AckError, NoPosition, ProcessingTimeout, RunError};
pub use server::ServerError;
pub use transport::{ConnectError, TransportError};

/// Why a call failed. Cheap to clone: all records of a batch share one.
///
/// ```
/// use quipu_client::{Effect, Error};
///
/// fn is_safe_to_send_again(error: &Error) -> bool {
///     error.effect() == Effect::None
/// }
/// # assert!(is_safe_to_send_again(&Error::Closed));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A server refused, with its reason.
    #[error(transparent)]
    Server(Arc<ServerError>),
    /// No address answered.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// A connection broke, or could not be made.
    #[error(transparent)]
    Transport(Arc<TransportError>),
    /// Time ran out.
    #[error(transparent)]
    Timeout(Arc<TimeoutError>),
    /// The records asked for are gone, or not there yet.
    #[error(transparent)]
    OffsetOutOfRange(Arc<OffsetOutOfRange>),
    /// A group has no position in a partition, and was not told where to start.
    #[error(transparent)]
    NoPosition(Arc<NoPosition>),
    /// A message was not acknowledged in time.
    #[error(transparent)]
    ProcessingTimeout(Arc<ProcessingTimeout>),
    /// The event is above a limit.
    #[error(transparent)]
    TooLarge(Arc<TooLarge>),
    /// The call makes no sense; nothing was sent.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// Bytes from a server are damaged.
    #[error(transparent)]
    Corrupt(Arc<Corrupt>),
    /// The producer or consumer was closed before.
    #[error("closed before")]
    Closed,
}

/// Time ran out; says what was awaited.
#[derive(Clone, Debug, thiserror::Error)]
pub struct TimeoutError {
    /// What was awaited: "deliver to fees/3".
    pub action: String,
    /// For how long.
    pub waited: Duration,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it may have happened.
    pub effect: Effect,
    /// Why the last attempt failed.
    #[source]
    pub last: Option<Error>,
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, attempts, effect, .. } = self;
        let waited = self.waited.as_secs_f64();
        write!(f, "{action}: timed out after {waited:.1} s and {attempts} attempt(s)")?;
        match &self.last {
            Some(last) => write!(f, "; last cause: {last}")?,
            None => f.write_str("; no answer came")?,
        }
        write!(f, " (effect: {effect})")
    }
}

/// The offset asked for is not readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OffsetOutOfRange {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset asked for.
    pub offset: u64,
    /// First kept offset.
    pub log_start: u64,
    /// Next offset to be written.
    pub high_watermark: u64,
}

impl OffsetOutOfRange {
    /// Retention removed the records before they were read.
    #[must_use]
    pub const fn is_below_start(&self) -> bool {
        self.offset < self.log_start
    }

    /// How many events are passed over by going on at `next`, and why.
    pub(crate) const fn skipped(&self, next: u64) -> [(SkipReason, u64); 2] {
        let kept_from = if self.is_below_start() { self.log_start } else { self.offset };
        [
            (SkipReason::Removed, kept_from - self.offset),
            (SkipReason::Reset, next.saturating_sub(kept_from)),
        ]
    }
}

impl fmt::Display for OffsetOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, log_start, high_watermark } = self;
        let code = ErrorCode::OffsetOutOfRange;
        if self.is_below_start() {
            let gone = log_start - offset;
            write!(
                f,
                "{code} offset {offset} of {topic}/{partition} is below the log start {log_start}: \
                 {gone} event(s) were removed before they were read"
            )
        } else {
            write!(
                f,
                "{code} offset {offset} of {topic}/{partition} is above the end {high_watermark}: \
                 no event has it yet"
            )
        }
    }
}

/// An event is above a limit; checked before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event of {actual} bytes for topic {topic:?} is above the limit of {limit} ({limited_by}); \
     store the blob elsewhere and send a reference"
)]
pub struct TooLarge {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Bytes of the event with its frame.
    pub actual: usize,
    /// Bytes allowed.
    pub limit: usize,
    /// The setting that says so.
    pub limited_by: &'static str,
}

/// Bytes from a server are damaged: a checksum, a length or a codec does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "records of {topic}/{partition} from offset {offset}, read from {address}, are damaged: {reason}"
)]
pub struct Corrupt {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset that was being read.
    pub offset: u64,
    /// Who sent the bytes.
    pub address: String,
    /// What does not fit.
    pub reason: String,
}

impl Error {
    /// The server's stable code; `None` where no server had a say.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server(error) => error.code,
            Self::Timeout(error) => error.last.as_ref().and_then(Self::code),
            Self::OffsetOutOfRange(_) => Some(ErrorCode::OffsetOutOfRange),
            Self::TooLarge(_) => Some(ErrorCode::RecordTooLarge),
            Self::Corrupt(_) => Some(ErrorCode::DataCorrupt),
            Self::Connect(_)
            | Self::Transport(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::Invalid(_)
            | Self::Closed => None,
        }
    }

    /// Whether the operation may have happened.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Server(error) => error.effect,
            Self::Transport(error) => error.effect,
            Self::Timeout(error) => error.effect,
            Self::Connect(_)
            | Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed => Effect::None,
        }
    }

    /// What may be done now.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Server(error) => error.retry,
            Self::Connect(_) | Self::Transport(_) | Self::Timeout(_) => {
                Retry::After(Duration::from_millis(100))
            }
            Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed => Retry::Never,
        }
    }

    /// The cluster could not be reached or did not answer in time.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Transport(_) | Self::Timeout(_) => true,
            Self::Server(error) => error.code.is_some_and(|code| {
                let number = code.number();
                (2001..3000).contains(&number)
                    || matches!(
                        code,
                        ErrorCode::NotEnoughReplicas
                            | ErrorCode::Overloaded
                            | ErrorCode::DeadlineExceeded
                            | ErrorCode::Stopping
                    )
            }),
            Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed => false,
        }
    }

    /// What was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code().is_some_and(|code| {
            matches!(
                code,
                ErrorCode::UnknownTopic
                    | ErrorCode::UnknownTopicId
                    | ErrorCode::UnknownPartition
                    | ErrorCode::UnknownGroup
            )
        })
    }

    /// What was to be made exists already, or what was to be changed is in use.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| {
            matches!(
                code,
                ErrorCode::TopicExists | ErrorCode::GroupNotEmpty | ErrorCode::InstanceInUse
            )
        })
    }

    /// A value of the metrics' label `error`.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Server(error) => &error.name,
            Self::Connect(_) | Self::Transport(_) => "TRANSPORT",
            Self::Timeout(_) => "TIMEOUT",
            Self::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange.name(),
            Self::NoPosition(_) => "NO_POSITION",
            Self::ProcessingTimeout(_) => "PROCESSING_TIMEOUT",
            Self::TooLarge(_) => ErrorCode::RecordTooLarge.name(),
            Self::Invalid(_) => ErrorCode::Malformed.name(),
            Self::Corrupt(_) => ErrorCode::DataCorrupt.name(),
            Self::Closed => "CLOSED",
        }
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into().into())
    }

    pub(crate) fn timeout(error: TimeoutError) -> Self {
        Self::Timeout(Arc::new(error))
    }

    /// The same failure, but what failed may have happened in an earlier attempt.
    pub(crate) fn with_unknown_effect(self) -> Self {
        match self {
            Self::Server(error) => {
                let mut error = Arc::unwrap_or_clone(error);
                error.effect = Effect::Unknown;
                Self::Server(Arc::new(error))
            }
            Self::Transport(error) => {
                let mut error = Arc::unwrap_or_clone(error);
                error.effect = Effect::Unknown;
                Self::Transport(Arc::new(error))
            }
            Self::Timeout(error) => {
                let mut error = Arc::unwrap_or_clone(error);
                error.effect = Effect::Unknown;
                Self::Timeout(Arc::new(error))
            }
            other @ (Self::Connect(_)
            | Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed) => Self::timeout(TimeoutError {
                action: "deliver".to_owned(),
                waited: Duration::ZERO,
                attempts: 1,
                effect: Effect::Unknown,
                last: Some(other),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
