//! The checksum of a partition as this node's replica has it: for tests and doctors.

use quipu_partition::ReadError;
use quipu_runtime::{Deadline, run_blocking};
use quipu_types::{Effect, ErrorCode, NodeId, PartitionIndex, Progress, Retry};

use crate::error::{OperationError, RETRY_LATER, RouteError};
use crate::route::Route;
use crate::topics::LookupError;
use crate::{Broker, compaction};

/// Why there is no checksum. Reads have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is no such partition, or it is being opened.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Other nodes have the replicas.
    #[error("this node has no replica of the partition; ask one of the nodes {nodes:?}")]
    NoReplica {
        /// Who has.
        nodes: Vec<NodeId>,
    },
    /// Stored bytes failed their checksum.
    #[error("stored bytes are damaged: {words}")]
    Corrupt {
        /// File, position, what was expected and found.
        words: String,
    },
    /// The disk failed.
    #[error("reading failed: {words}")]
    Io {
        /// What the system said.
        words: String,
    },
}

impl OperationError for ChecksumError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lookup(error) => error.code(),
            Self::Route(error) => error.code(),
            Self::NoReplica { .. } => ErrorCode::WrongNode,
            Self::Corrupt { .. } => ErrorCode::DataCorrupt,
            Self::Io { .. } => ErrorCode::Internal,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Lookup(_)
            | Self::Route(_)
            | Self::NoReplica { .. }
            | Self::Corrupt { .. }
            | Self::Io { .. } => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup(error) => error.retry(),
            Self::Route(error) => error.retry(),
            Self::NoReplica { nodes } => {
                nodes.first().map_or(Retry::Never, |node| Retry::At(*node))
            }
            Self::Corrupt { .. } => Retry::Never,
            Self::Io { .. } => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lookup(error) => error.fields(),
            Self::Route(error) => error.fields(),
            Self::NoReplica { nodes } => {
                let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
                vec![("nodes", nodes.join(","))]
            }
            Self::Corrupt { .. } | Self::Io { .. } => Vec::new(),
        }
    }
}

impl Broker {
    /// The bounds of this node's replica and the CRC32C over the stored bytes between them; of a
    /// topic that is or was compacted, over the newest record of each key.
    ///
    /// # Errors
    /// [`ChecksumError`]; `NoReplica` names the nodes to ask.
    pub async fn partition_checksum(
        &self,
        topic: &str,
        index: PartitionIndex,
        deadline: Deadline,
    ) -> Result<(Progress, u32), ChecksumError> {
        let place = self.partition_named::<ChecksumError>(topic, index, deadline).await?;
        let Route { partition, shard: id, .. } = place;
        let Some(shard) = self.inner.shards.get(id) else {
            return Err(ChecksumError::NoReplica { nodes: self.nodes_to_ask(id)? });
        };
        let handle = shard.partition(partition);
        let handle = handle.ok_or(RouteError::NotReady)?;
        let image = self.image();
        let topic = image.topic_by_id(&partition.topic);
        let is_compacted = topic.is_some_and(|topic| topic.was_compacted);
        let read = move || {
            if is_compacted { handle.key_checksum(compaction::KEYS_MAX) } else { handle.checksum() }
        };
        let read = run_blocking(read).await.expect("a panic in a read is a panic here");
        read.map_err(|error| {
            let words = error.to_string();
            match error {
                // The prefix was trimmed while it was read.
                ReadError::OffsetOutOfRange { .. } | ReadError::Closed => {
                    RouteError::NotReady.into()
                }
                ReadError::Corrupt(_) => ChecksumError::Corrupt { words },
                ReadError::Io(_) => ChecksumError::Io { words },
            }
        })
    }
}
