//! What a server's answer comes down to.

use std::fmt;

use prost::Message;
use quipu_proto::v1;
use tonic::{Code, Response, Status};

/// An answer, or why there is none.
pub(crate) type Reply<T> = Result<T, Refusal>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// Typed: in the answer, or in the details of a status.
    Typed(Box<v1::Error>),
    /// gRPC alone.
    Grpc(Code, String),
    /// The stream ended without an error.
    Ended,
    /// Nothing came in time.
    Silent(String),
}

impl Refusal {
    /// Where the call belongs, when the node that was asked knows.
    pub(crate) fn coordinator(&self) -> Option<u64> {
        match self {
            Self::Typed(error) if error.code == "QP2001" => error.retry.and_then(|it| it.node_id),
            Self::Typed(_) | Self::Grpc(..) | Self::Ended | Self::Silent(_) => None,
        }
    }

    /// Whether the same call may succeed a moment later or elsewhere, and nothing happened:
    /// coordination by another node, elections and openings.
    pub(crate) fn is_passing(&self) -> bool {
        const PASSING: [&str; 6] = ["QP2001", "QP2002", "QP2006", "QP2009", "QP3003", "QP3005"];
        match self {
            Self::Typed(error) => {
                PASSING.contains(&error.code.as_str())
                    && error.effect == i32::from(v1::Effect::None)
            }
            Self::Grpc(..) | Self::Ended | Self::Silent(_) => false,
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        match v1::Error::decode(status.details()) {
            Ok(error) if !error.code.is_empty() => Self::Typed(Box::new(error)),
            _ => Self::Grpc(status.code(), status.message().to_owned()),
        }
    }
}

impl From<v1::Error> for Refusal {
    fn from(error: v1::Error) -> Self {
        Self::Typed(Box::new(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(error) => {
                write!(f, "{} {}: {}", error.code, error.name, error.message)?;
                write!(f, " (effect {}, fields {:?})", error.effect, error.fields)
            }
            Self::Grpc(code, message) => write!(f, "gRPC {code:?}: {message}"),
            Self::Ended => f.write_str("the stream ended without an error"),
            Self::Silent(words) => write!(f, "no answer: {words}"),
        }
    }
}

/// An answer that may carry a refusal inside.
pub(crate) trait Answer: Sized {
    /// The refusal, taken out.
    fn take_error(&mut self) -> Option<v1::Error>;

    /// The answer, or the refusal it carries.
    fn reply(mut self) -> Reply<Self> {
        match self.take_error() {
            Some(error) => Err(error.into()),
            None => Ok(self),
        }
    }
}

macro_rules! answers {
    ($($name:ident)+) => {
        $(impl Answer for v1::$name {
            fn take_error(&mut self) -> Option<v1::Error> {
                self.error.take()
            }
        })+
    };
}

answers! {
    JoinResponse CommitOffsetsResponse CommitResult FetchOffsetsResponse DescribeGroupResponse
    ResetOffsetsResponse DeleteGroupResponse CreateTopicResponse
}

/// What a unary call came to, with a refusal inside the answer taken out.
pub(crate) fn settle<T: Answer>(outcome: Result<Response<T>, Status>) -> Reply<T> {
    outcome.map_err(Refusal::from)?.into_inner().reply()
}
