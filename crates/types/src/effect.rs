//! The two questions every error answers: may it have happened, and what now?

use std::fmt;
use std::time::Duration;

use crate::NodeId;

/// Whether an operation that failed may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It did not happen.
    None,
    /// It may have happened, or may still happen.
    Unknown,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Unknown => "unknown",
        })
    }
}

/// What a caller may do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call can only fail again.
    Never,
    /// The same call may succeed after this pause, grown by the caller's own backoff.
    After(Duration),
    /// The same call belongs to another node.
    At(NodeId),
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::After(pause) => write!(f, "after {} ms", pause.as_millis()),
            Self::At(node) => write!(f, "at node {node}"),
        }
    }
}
