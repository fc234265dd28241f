//! One connection between two processes.

use std::fmt;

use quipu_types::NodeId;
use tokio_util::sync::CancellationToken;

use crate::l1::life::Life;

/// A connection. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    number: u64,
    pub(super) client: Life,
    pub(super) server: Life,
    /// Cancelled when it breaks, for both sides.
    pub(super) broken: CancellationToken,
}

impl Connection {
    pub(super) fn new(number: u64, client: &Life, server: &Life) -> Self {
        let (client, server) = (client.clone(), server.clone());
        Self { number, client, server, broken: CancellationToken::new() }
    }

    fn sides(&self) -> [&Life; 2] {
        [&self.client, &self.server]
    }

    /// Whether one side is this life of a node.
    pub(super) fn ends_in(&self, node: NodeId, life: u64) -> bool {
        self.sides().iter().any(|side| side.node() == node && side.number() == life)
    }

    /// Whether one side is a life of the node that is over.
    pub(super) fn is_orphan_of(&self, node: NodeId) -> bool {
        self.sides().iter().any(|side| side.node() == node && side.is_over())
    }

    pub(super) fn is_between(&self, one: NodeId, other: NodeId) -> bool {
        let ends = (self.client.node(), self.server.node());
        ends == (one, other) || ends == (other, one)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} to {}", self.number, self.client.node(), self.server.node())
    }
}
