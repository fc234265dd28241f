//! A refusal in the server's own words.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use quipu_proto::v1;
use quipu_types::{Effect, ErrorCode, NodeId, Retry};

use super::Error;

/// A server refused. Its code is stable; its sentence may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The code, if this client knows it.
    pub code: Option<ErrorCode>,
    /// The code as it came: `QP1203`.
    pub code_text: String,
    /// The code's name: `UNKNOWN_TOPIC`.
    pub name: String,
    /// A sentence with the values in it.
    pub message: String,
    /// Whether the operation may have happened.
    pub effect: Effect,
    /// What may be done now.
    pub retry: Retry,
    /// The values by name.
    pub fields: BTreeMap<String, String>,
    /// Who answered.
    pub address: String,
}

impl std::error::Error for ServerError {}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code_text, self.message)?;
        if !self.address.is_empty() {
            write!(f, " (said by {})", self.address)?;
        }
        Ok(())
    }
}

impl ServerError {
    /// Reads the wire form. What a newer server adds is kept as text.
    pub(crate) fn from_proto(error: v1::Error, address: &str) -> Self {
        let number = error.code.strip_prefix("QP").and_then(|digits| digits.parse().ok());
        let effect = match error.effect() {
            v1::Effect::None => Effect::None,
            // A server that does not say gets the careful reading.
            v1::Effect::Unknown | v1::Effect::Unspecified => Effect::Unknown,
        };
        Self {
            code: number.and_then(ErrorCode::from_number),
            effect,
            retry: retry(error.retry),
            code_text: error.code,
            name: error.name,
            message: error.message,
            fields: error.fields.into_iter().collect(),
            address: address.to_owned(),
        }
    }

    /// A refusal made on this side of the wire, for what a server would refuse.
    pub(crate) fn local(code: ErrorCode, message: String) -> Self {
        Self {
            code: Some(code),
            code_text: code.to_string(),
            name: code.name().to_owned(),
            message,
            effect: Effect::None,
            retry: Retry::Never,
            fields: BTreeMap::new(),
            address: String::new(),
        }
    }

    /// The refusal a gRPC status carries in its details, if it does.
    pub(crate) fn from_status(status: &tonic::Status, address: &str) -> Option<Self> {
        let error = v1::Error::decode(status.details()).ok()?;
        error.code.starts_with("QP").then(|| Self::from_proto(error, address))
    }

    /// A numeric field by name.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.parse().ok()
    }
}

/// The node comes first: it makes a pause needless.
fn retry(retry: Option<v1::Retry>) -> Retry {
    match retry {
        Some(v1::Retry { node_id: Some(node), .. }) => Retry::At(NodeId::new(node)),
        Some(v1::Retry { after_ms: Some(ms), .. }) => {
            Retry::After(Duration::from_millis(u64::from(ms)))
        }
        Some(v1::Retry { after_ms: None, node_id: None }) | None => Retry::Never,
    }
}

impl Error {
    pub(crate) fn from_proto(error: v1::Error, address: &str) -> Self {
        Self::Server(Arc::new(ServerError::from_proto(error, address)))
    }

    /// A numeric value of a server's refusal, by name.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        match self {
            Self::Server(error) => error.number(field),
            Self::Connect(_)
            | Self::Transport(_)
            | Self::Timeout(_)
            | Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed => None,
        }
    }

    pub(crate) fn local(code: ErrorCode, message: String) -> Self {
        Self::Server(Arc::new(ServerError::local(code, message)))
    }
}
