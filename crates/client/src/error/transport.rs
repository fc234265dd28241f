//! Failures below the contract: connections.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use quipu_types::Effect;
use tonic::{Code, Status};

use super::{Error, ServerError};

/// A connection broke, or could not be made.
#[derive(Clone, Debug)]
pub struct TransportError {
    /// Who was called.
    pub address: String,
    /// What for: "connect", "produce".
    pub action: &'static str,
    /// `None` when no request had left; otherwise unknown.
    pub effect: Effect,
    /// What to look at, when the address came from a server and not from the caller.
    pub hint: Option<String>,
    /// The transport's own words, outermost first.
    pub causes: Vec<String>,
}

impl StdError for TransportError {}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.action, self.address, self.causes.join(": "))?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// No bootstrap address answered.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// Each address with the reason why it did not serve.
    pub attempts: Vec<(String, Error)>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no server answered; tried ")?;
        for (index, (address, error)) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address} ({error})")?;
        }
        Ok(())
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.attempts.last().map(|(_, error)| error as _)
    }
}

impl Error {
    /// A connection that could not be made: nothing was sent.
    pub(crate) fn unreachable(address: &str, cause: &(dyn StdError + 'static)) -> Self {
        Self::Transport(Arc::new(TransportError {
            address: address.to_owned(),
            action: "connect to",
            effect: Effect::None,
            hint: None,
            causes: causes(cause),
        }))
    }

    /// A call that ended without an answer of the contract. A request had left, so its effect is
    /// unknown unless the server says otherwise.
    pub(crate) fn from_status(status: &Status, action: &'static str, address: &str) -> Self {
        if let Some(error) = ServerError::from_status(status, address) {
            return Self::Server(Arc::new(error));
        }
        let mut causes = vec![format!("{:?}: {}", status.code(), status.message())];
        if let Some(source) = status.source() {
            causes.extend(self::causes(source));
        }
        causes.dedup();
        // Refused before the method ran, if it exists at all.
        let is_certain = matches!(
            status.code(),
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied
        );
        let effect = if is_certain { Effect::None } else { Effect::Unknown };
        Self::Transport(Arc::new(TransportError {
            address: address.to_owned(),
            action,
            effect,
            hint: None,
            causes,
        }))
    }

    /// A stream that ended although answers were due.
    pub(crate) fn stream_ended(action: &'static str, address: &str, why: &str) -> Self {
        Self::Transport(Arc::new(TransportError {
            address: address.to_owned(),
            action,
            effect: Effect::Unknown,
            hint: None,
            causes: vec![why.to_owned()],
        }))
    }

    /// Adds what to look at.
    pub(crate) fn with_hint(self, hint: impl FnOnce() -> String) -> Self {
        match self {
            Self::Transport(error) => {
                let mut error = Arc::unwrap_or_clone(error);
                error.hint = Some(hint());
                Self::Transport(Arc::new(error))
            }
            other @ (Self::Server(_)
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::OffsetOutOfRange(_)
            | Self::NoPosition(_)
            | Self::ProcessingTimeout(_)
            | Self::TooLarge(_)
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Closed) => other,
        }
    }
}

/// The chain of causes as text, each said once.
fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        next = error.source();
    }
    causes
}
