//! What can go wrong, and what a caller may do then.

use std::time::Duration;

use quipu_types::{Effect, NodeId, ReplicaId, Retry};

use crate::state_machine::StateMachineError;

/// Long enough for an election after a node's death was noticed.
const SOON: Duration = Duration::from_millis(50);

/// A proposal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead, or not in the term of the witness.
    #[error("not the leader (leader: {})", known(*leader))]
    NotLeader {
        /// The node that does, when known.
        leader: Option<NodeId>,
    },
    /// Leadership was lost, or the connection to the leader, after the command was handed over.
    #[error("leadership was lost while the command was under way")]
    LeadershipLost,
    /// The command does not fit between nodes.
    #[error("a command of {bytes} bytes is too large, at most {max} fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The deadline passed before the answer came.
    #[error("the deadline passed")]
    Deadline,
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

fn known(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "unknown".to_owned(), |node| format!("node {node}"))
}

impl ProposeError {
    /// Whether the command may have been, or may still be, applied.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotLeader { .. } | Self::TooLarge { .. } => Effect::None,
            Self::LeadershipLost | Self::Deadline | Self::Stopped => Effect::Unknown,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None } | Self::LeadershipLost | Self::Deadline => {
                Retry::After(SOON)
            }
            Self::TooLarge { .. } | Self::Stopped => Retry::Never,
        }
    }
}

/// Leadership could not be confirmed for a read. Reads have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// This replica does not lead.
    #[error("not the leader (leader: {})", known(*leader))]
    NotLeader {
        /// The node that does, when known.
        leader: Option<NodeId>,
    },
    /// No quorum answered.
    #[error("no quorum of replicas answered")]
    NoQuorum,
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

impl ReadIndexError {
    /// Always none: nothing was written.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::None
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None } | Self::NoQuorum | Self::Deadline => {
                Retry::After(SOON)
            }
            Self::Stopped => Retry::Never,
        }
    }
}

/// A group could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenGroupError {
    /// It is open already.
    #[error("the group is open already")]
    AlreadyOpen,
    /// The settings contradict each other.
    #[error("settings of consensus: {0}")]
    Config(String),
    /// What the journal and the checkpoint hold does not fit together.
    #[error("recover the group: {0}")]
    Recovery(String),
    /// The checkpoint's membership is unreadable.
    #[error("read the checkpoint: {0}")]
    Checkpoint(String),
}

/// A checkpoint was not made. The node stops when its disk was the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The journal failed.
    #[error("flush the journal")]
    Journal,
    /// The state machine failed.
    #[error(transparent)]
    StateMachine(#[from] StateMachineError),
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

/// Leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica does not lead.
    #[error("not the leader (leader: {})", known(*leader))]
    NotLeader {
        /// The node that does, when known.
        leader: Option<NodeId>,
    },
    /// Not a voter of this group.
    #[error("replica {0} is no voter")]
    NotVoter(ReplicaId),
    /// Its node does not answer.
    #[error("replica {0} does not answer")]
    NotAlive(ReplicaId),
    /// It is too far behind.
    #[error("replica {replica} is {entries} entries behind")]
    Behind {
        /// The replica.
        replica: ReplicaId,
        /// Entries it has not flushed yet.
        entries: u64,
    },
    /// The replica did not take over in time; an election follows.
    #[error("replica {0} did not take over in time")]
    NotTaken(ReplicaId),
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

impl TransferError {
    /// Whether another may lead all the same, or will.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotLeader { .. }
            | Self::NotVoter(_)
            | Self::NotAlive(_)
            | Self::Behind { .. } => Effect::None,
            Self::NotTaken(_) | Self::Stopped => Effect::Unknown,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None }
            | Self::NotAlive(_)
            | Self::Behind { .. }
            | Self::NotTaken(_) => Retry::After(SOON),
            Self::NotVoter(_) | Self::Stopped => Retry::Never,
        }
    }
}

/// A group was not initialized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    /// It has a log or a vote already.
    #[error("the group is initialized already")]
    Already,
    /// This replica is not among the members, or the list is empty.
    #[error("this replica is not among the first members")]
    NotMember,
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

/// Members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeMembersError {
    /// This replica does not lead.
    #[error("not the leader (leader: {})", known(*leader))]
    NotLeader {
        /// The node that does, when known.
        leader: Option<NodeId>,
    },
    /// Refused by the rules of membership change.
    #[error("change members: {0}")]
    Refused(String),
    /// Leadership was lost meanwhile; the change may still happen.
    #[error("leadership was lost while members changed")]
    LeadershipLost,
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

impl ChangeMembersError {
    /// Whether members may have changed, or may still.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotLeader { .. } | Self::Refused(_) => Effect::None,
            Self::LeadershipLost | Self::Stopped => Effect::Unknown,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None } | Self::LeadershipLost => Retry::After(SOON),
            Self::Refused(_) | Self::Stopped => Retry::Never,
        }
    }
}

/// A call to another node failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no connection to the node.
    #[error("node {node} does not answer")]
    Unreachable {
        /// The node.
        node: NodeId,
    },
    /// The connection broke before the answer came.
    #[error("the connection to node {node} broke")]
    Lost {
        /// The node.
        node: NodeId,
    },
    /// The node does not know this kind of call.
    #[error("node {node} does not know calls of kind {kind}")]
    NoHandler {
        /// The node.
        node: NodeId,
        /// The kind.
        kind: u32,
    },
    /// The handler refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
}

impl CallError {
    /// Whether the call may have had its effect.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Unreachable { .. } | Self::NoHandler { .. } => Effect::None,
            Self::Lost { .. } | Self::Refused(_) | Self::Deadline => Effect::Unknown,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Deadline => Retry::After(SOON),
            Self::NoHandler { .. } | Self::Refused(_) => Retry::Never,
        }
    }
}
