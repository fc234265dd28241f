//! Moving partitions of a topic to other shards, also to shards with another number of replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_metadata::MetadataError;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, PartitionIndex, Retry, ShardId};

use super::{LookupError, TopicDescription};
use crate::Broker;
use crate::error::OperationError;

/// Where partitions of a topic are to be.
#[derive(Clone, Debug)]
pub struct MovePartitions {
    /// The topic's name.
    pub name: String,
    /// Which, and where to.
    pub to: Destination,
    /// Check everything, change nothing.
    pub is_validate_only: bool,
}

/// Where partitions are to be.
#[derive(Clone, Debug)]
pub enum Destination {
    /// On these shards. To where one is: its move is called off.
    Shards(BTreeMap<PartitionIndex, ShardId>),
    /// All of them on shards of so many replicas.
    Replication(u8),
}

/// Why nothing moves, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MovePartitionsError {
    /// The name leads to no topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl OperationError for MovePartitionsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lookup(error) => error.code(),
            Self::Metadata(error) => error.code(),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Lookup(error) => error.effect(),
            Self::Metadata(error) => error.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup(error) => error.retry(),
            Self::Metadata(error) => error.retry(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lookup(error) => error.fields(),
            Self::Metadata(error) => error.fields(),
        }
    }
}

impl Broker {
    /// Begins to move partitions; returns once that is decided. Describing the topic shows which
    /// are on their way.
    ///
    /// Dropping the future may leave the moves begun.
    ///
    /// # Errors
    /// [`MovePartitionsError`]; the call may always be repeated.
    pub async fn move_partitions(
        &self,
        request: &MovePartitions,
        deadline: Deadline,
    ) -> Result<TopicDescription, MovePartitionsError> {
        // By id: a topic created again under the name meanwhile is not meant.
        let id = self.topic_named(&request.name, deadline).await?.id;
        let metadata = &self.inner.metadata;
        let record = match (request.to.clone(), request.is_validate_only) {
            (Destination::Shards(to), true) => metadata.preview_move_partitions(id, to)?,
            (Destination::Shards(to), false) => metadata.move_partitions(id, to, deadline).await?,
            (Destination::Replication(count), true) => {
                metadata.preview_set_replication(id, count)?
            }
            (Destination::Replication(count), false) => {
                metadata.set_replication(id, count, deadline).await?
            }
        };
        Ok(self.describe_record(&Arc::new(record)))
    }
}
