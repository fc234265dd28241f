//! What nodes are there for, and where replicas are: as an operator wants it.

use std::time::Duration;

pub use quipu_metadata::NodeState;
use quipu_metadata::{
    Command, Image, MetadataError, NodeRecord, PlannedMoves, ReplicaMove, balance,
};
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, NodeId, Retry, ShardId};

use crate::Broker;
use crate::error::OperationError;

/// The longest drain: longer than any maintenance, shorter than being forgotten.
const DRAIN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most that may be asked for.
const AT_ONCE_MAX: u32 = 100;

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Leaderships leave it, for so long at most.
    Drain(Duration),
    /// The same, and it works again as soon as it was started anew.
    DrainUntilRestart(Duration),
    /// It works again; one that is being decommissioned stays.
    Activate,
    /// Its replicas go to other nodes; then it is removed for ever.
    Decommission,
    /// The same for a node that does not answer any more.
    Replace,
}

/// A move of a shard's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveView {
    /// The shard.
    pub shard: ShardId,
    /// Where they are.
    pub from: Vec<NodeId>,
    /// Where they are to be; the preferred leader first.
    pub to: Vec<NodeId>,
}

/// Why nodes and replicas stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElasticError {
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A node is to be replaced that answers.
    #[error("node {node} answers: to take a living node out of the cluster, decommission it")]
    Alive {
        /// The node.
        node: NodeId,
    },
    /// A drain too short or too long.
    #[error("a drain of {given:?} is out of bounds: use 1 s to {DRAIN_MAX:?}")]
    InvalidDrain {
        /// As asked for.
        given: Duration,
    },
    /// Too many moves at once.
    #[error("{given} moves at once are too many: use 1 to {AT_ONCE_MAX}")]
    InvalidAtOnce {
        /// As asked for.
        given: u32,
    },
}

impl OperationError for ElasticError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Metadata(error) => error.code(),
            Self::Alive { .. } => ErrorCode::NodeInUse,
            Self::InvalidDrain { .. } | Self::InvalidAtOnce { .. } => ErrorCode::Malformed,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Metadata(error) => error.effect(),
            Self::Alive { .. } | Self::InvalidDrain { .. } | Self::InvalidAtOnce { .. } => {
                Effect::None
            }
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Metadata(error) => error.retry(),
            Self::Alive { .. } | Self::InvalidDrain { .. } | Self::InvalidAtOnce { .. } => {
                Retry::Never
            }
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Metadata(error) => error.fields(),
            Self::Alive { node } => vec![("node", node.to_string())],
            Self::InvalidDrain { given } => vec![
                ("field", "drain_for_ms".to_owned()),
                ("actual", given.as_millis().to_string()),
                ("limit", DRAIN_MAX.as_millis().to_string()),
            ],
            Self::InvalidAtOnce { given } => vec![
                ("field", "at_once".to_owned()),
                ("actual", given.to_string()),
                ("limit", AT_ONCE_MAX.to_string()),
            ],
        }
    }
}

impl Broker {
    /// Says what a node is there for. Returns once that is decided; leaderships and replicas
    /// follow. A drain leaves a node alone that is to leave, or that rests for longer already.
    ///
    /// # Errors
    /// [`ElasticError`]; what was refused changes nothing.
    pub async fn change_node(
        &self,
        node: NodeId,
        change: NodeChange,
        deadline: Deadline,
    ) -> Result<(), ElasticError> {
        let state = match change {
            NodeChange::Drain(span) => {
                let drained = NodeState::drained_until(self.end_of_drain(span)?);
                let Some(state) = rested(self.image().nodes.get(&node), drained) else {
                    return Ok(());
                };
                state
            }
            NodeChange::DrainUntilRestart(span) => {
                let until_ms = self.end_of_drain(span)?;
                let image = self.image();
                let record = image.nodes.get(&node);
                let start = record.map(|record| record.start);
                let Some(state) = rested(record, NodeState::Drained { until_ms, start }) else {
                    return Ok(());
                };
                state
            }
            NodeChange::Activate => NodeState::Active,
            NodeChange::Decommission => NodeState::Decommissioning,
            NodeChange::Replace => {
                if node == self.inner.node || self.inner.consensus.is_alive(node) {
                    return Err(ElasticError::Alive { node });
                }
                NodeState::Decommissioning
            }
        };
        self.inner.metadata.propose(Command::SetNodeState { node, state }, deadline).await?;
        Ok(())
    }

    /// When a drain of this length ends, in milliseconds since 1970.
    fn end_of_drain(&self, given: Duration) -> Result<u64, ElasticError> {
        if !(Duration::from_secs(1)..=DRAIN_MAX).contains(&given) {
            return Err(ElasticError::InvalidDrain { given });
        }
        let span = i64::try_from(given.as_millis()).unwrap_or(i64::MAX);
        let until = self.inner.clock.wall_ms().saturating_add(span);
        Ok(u64::try_from(until).unwrap_or(0))
    }

    /// Begins to move the replicas of a shard; returns once that is decided.
    ///
    /// # Errors
    /// [`ElasticError`]; what was refused changes nothing.
    pub async fn move_replicas(
        &self,
        shard: ShardId,
        to: Vec<NodeId>,
        deadline: Deadline,
    ) -> Result<(), ElasticError> {
        let to = ReplicaMove { shard, to };
        self.inner.metadata.propose(Command::MoveReplicas(to), deadline).await?;
        Ok(())
    }

    /// The moves that would give every node its share, as far as this node knows.
    #[must_use]
    pub fn preview_rebalance(&self) -> Vec<MoveView> {
        let image = self.image();
        let answers = |node| node == self.inner.node || self.inner.consensus.is_alive(node);
        let moves = balance::plan(&image, answers);
        moves.iter().map(|planned| view(&image, planned)).collect()
    }

    /// Plans the moves that give every node its share, in place of what was planned. Returns them.
    ///
    /// # Errors
    /// [`ElasticError`]; what was refused changes nothing.
    pub async fn rebalance(
        &self,
        at_once: u32,
        deadline: Deadline,
    ) -> Result<Vec<MoveView>, ElasticError> {
        let at_once = if at_once == 0 { balance::MOVES_AT_ONCE } else { at_once };
        if at_once > AT_ONCE_MAX {
            return Err(ElasticError::InvalidAtOnce { given: at_once });
        }
        let views = self.preview_rebalance();
        let moves = views
            .iter()
            .map(|view| ReplicaMove { shard: view.shard, to: view.to.clone() })
            .collect();
        let planned = PlannedMoves { moves, at_once };
        self.inner.metadata.propose(Command::PlanMoves(planned), deadline).await?;
        Ok(views)
    }

    /// Drops what is planned; moves that have begun go on to their end. Returns what was dropped,
    /// as far as this node knew.
    ///
    /// # Errors
    /// [`ElasticError`].
    pub async fn cancel_moves(&self, deadline: Deadline) -> Result<Vec<MoveView>, ElasticError> {
        let views = self.planned_moves();
        let nothing = PlannedMoves::default();
        self.inner.metadata.propose(Command::PlanMoves(nothing), deadline).await?;
        Ok(views)
    }

    /// Moves that wait for their turn.
    #[must_use]
    pub fn planned_moves(&self) -> Vec<MoveView> {
        let image = self.image();
        image.planned.moves.iter().map(|planned| view(&image, planned)).collect()
    }
}

/// What a drain makes of a node; none where it rests as it is: it is to leave, or somebody said
/// that it rests for longer, whatever is started meanwhile.
fn rested(record: Option<&NodeRecord>, drained: NodeState) -> Option<NodeState> {
    let NodeState::Drained { until_ms: until, start } = drained else { return Some(drained) };
    match record.map(|record| record.state) {
        Some(NodeState::Decommissioning) => None,
        Some(NodeState::Drained { until_ms, start: None }) if start.is_some() => {
            (until_ms < until).then_some(drained)
        }
        Some(NodeState::Active | NodeState::Drained { .. }) | None => Some(drained),
    }
}

fn view(image: &Image, planned: &ReplicaMove) -> MoveView {
    let from = image.shards.get(&planned.shard).map(|record| record.nodes()).unwrap_or_default();
    MoveView { shard: planned.shard, from, to: planned.to.clone() }
}

#[cfg(test)]
mod tests {
    use quipu_types::StartId;

    use super::*;

    fn record(state: NodeState) -> NodeRecord {
        NodeRecord {
            address_client: String::new(),
            address_peer: String::new(),
            directory: <_>::default(),
            incarnation: <_>::default(),
            start: <_>::default(),
            rack: String::new(),
            version: String::new(),
            levels: <_>::default(),
            state,
            rebuilt: None,
        }
    }

    #[test]
    fn a_drain_undoes_nothing_that_was_asked_for() {
        let start = Some(StartId::from_bytes([7; 16]));
        let hook = NodeState::Drained { until_ms: 50, start };
        let person = NodeState::drained_until(100);
        let becomes = |is: NodeState, drained: NodeState| rested(Some(&record(is)), drained);
        assert_eq!(becomes(NodeState::Active, hook), Some(hook));
        assert_eq!(rested(None, hook), Some(hook), "the metadata group says who is unknown");
        assert_eq!(becomes(hook, person), Some(person));
        assert_eq!(becomes(person, hook), None, "the next start is not the end of that");
        assert_eq!(becomes(NodeState::drained_until(49), hook), Some(hook));
        assert_eq!(becomes(person, NodeState::drained_until(9)), Some(NodeState::drained_until(9)));
        for drained in [hook, person] {
            assert_eq!(becomes(NodeState::Decommissioning, drained), None, "it is to leave");
        }
    }
}
