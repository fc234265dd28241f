//! What a server's answer comes down to.

use std::fmt;

use prost::Message;
use quipu_proto::v1;
use tonic::{Code, Status};

/// An answer, or why there is none.
pub(crate) type Reply<T> = Result<T, Refusal>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// Typed: in the answer, or in the details of a status.
    Typed(Box<v1::Error>),
    /// gRPC alone.
    Grpc(Code, String),
}

impl Refusal {
    /// The stable code as text, if it is typed.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Typed(error) => &error.code,
            Self::Grpc(..) => "",
        }
    }

    /// A field of the error.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        match self {
            Self::Typed(error) => error.fields.get(name).map(String::as_str),
            Self::Grpc(..) => None,
        }
    }

    /// Whether the same call may succeed a moment later, and nothing happened: elections and
    /// openings, which a busy machine brings about at any time.
    pub(crate) fn is_passing(&self) -> bool {
        const PASSING: [&str; 6] = ["QP2002", "QP2006", "QP2009", "QP3001", "QP3003", "QP3005"];
        match self {
            Self::Typed(error) => {
                PASSING.contains(&error.code.as_str())
                    && error.effect == i32::from(v1::Effect::None)
            }
            Self::Grpc(..) => false,
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
    ProduceResponse ProduceResult FetchResponse FetchedPartition OffsetAnswer InitProducerResponse
    CreateTopicResponse DeleteTopicResponse AlterTopicResponse AddPartitionsResponse
    TopicDescription TopicMetadata DeleteRecordsResult PartitionChecksumResponse
    TransferLeaderResponse
}

/// The only item of an answer to a request that asked for one.
pub(crate) fn only<T: Answer>(items: Vec<T>) -> Reply<T> {
    let count = items.len();
    match <[T; 1]>::try_from(items) {
        Ok([item]) => item.reply(),
        Err(_) => Err(Refusal::Grpc(Code::Unknown, format!("{count} items for a request of one"))),
    }
}
