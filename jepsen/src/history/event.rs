//! One line of a history.

use serde::{Deserialize, Serialize};

use super::{
    Call, Failure, Fault, LeaderSeen, Outcome, Owned, Phase, ReplicaSeen, SizeSeen, Start,
    TopicSettings, Trimmed,
};

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Monotonic nanoseconds since the run began; never goes back from line to line.
    pub at: u64,
    /// The client session; 0 for the harness itself. A client that crashed gets a new number.
    pub process: u64,
    /// The node that was asked, or that is spoken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The head: first line, and only there.
    Start(Start),
    /// A call begins.
    Invoke {
        /// Unique in the history.
        id: u64,
        /// What is asked for.
        call: Call,
    },
    /// A call ended well: it happened.
    Ok {
        /// Of the call.
        id: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// A call was refused: it did not happen, nor will it.
    Fail {
        /// Of the call.
        id: u64,
        /// The answer; its effect is `none`.
        error: Failure,
    },
    /// A call ended without a clear answer: it may have happened.
    Info {
        /// Of the call.
        id: u64,
        /// The answer; its effect is `maybe`.
        error: Failure,
    },
    /// A part of the run begins.
    Phase(Phase),
    /// A fault.
    Fault(Fault),
    /// A leader was seen.
    Leader(LeaderSeen),
    /// A replica was seen.
    Replica(ReplicaSeen),
    /// A topic's retention was set.
    Topic(TopicSettings),
    /// A log start moved.
    Trimmed(Trimmed),
    /// A log was measured.
    Size(SizeSeen),
    /// A member got partitions.
    Assigned(Owned),
    /// A member gave partitions back.
    Revoked(Owned),
    /// A member learnt that partitions were taken away.
    Lost(Owned),
}
