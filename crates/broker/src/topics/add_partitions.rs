//! Giving a topic more partitions while traffic flows.

use std::sync::Arc;

use quipu_metadata::MetadataError;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, Retry, TopicName};

use super::{LookupError, TopicDescription};
use crate::Broker;
use crate::error::{OperationError, RETRY_LATER};

/// How many partitions a topic is to have.
#[derive(Clone, Debug, Default)]
pub struct AddPartitions {
    /// The topic's name.
    pub name: String,
    /// Those it has included.
    pub total: u32,
    /// Check everything, change nothing.
    pub is_validate_only: bool,
}

/// A topic that has as many partitions as it was asked to have.
#[derive(Clone, Debug)]
pub struct GrownTopic {
    /// As it is now, or would be.
    pub topic: TopicDescription,
    /// How many partitions it had.
    pub before: u32,
}

impl GrownTopic {
    /// Whether it had fewer.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        usize::try_from(self.before).is_ok_and(|before| before < self.topic.partitions.len())
    }
}

/// Why nothing was added, or not all of it is served yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddPartitionsError {
    /// The name leads to no topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The partitions were added, but not all of them are served yet.
    #[error(
        "topic {name} has {partitions} partitions now, but {waiting} of them are not served yet"
    )]
    NotServed {
        /// The topic's name.
        name: TopicName,
        /// New partitions without a leader that serves.
        waiting: usize,
        /// All its partitions.
        partitions: usize,
    },
}

impl OperationError for AddPartitionsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lookup(error) => error.code(),
            Self::Metadata(error) => error.code(),
            Self::NotServed { .. } => ErrorCode::DeadlineExceeded,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Lookup(error) => error.effect(),
            Self::Metadata(error) => error.effect(),
            Self::NotServed { .. } => Effect::Unknown,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup(error) => error.retry(),
            Self::Metadata(error) => error.retry(),
            Self::NotServed { .. } => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lookup(error) => error.fields(),
            Self::Metadata(error) => error.fields(),
            Self::NotServed { name, waiting, partitions } => vec![
                ("topic", name.to_string()),
                ("waiting", waiting.to_string()),
                ("partitions", partitions.to_string()),
            ],
        }
    }
}

impl Broker {
    /// Gives a topic more partitions; returns once every new one has a leader that serves. A
    /// topic that has as many already is left as it is.
    ///
    /// Records stay where they are, and keys map to other partitions from now on. A request that
    /// reached the metadata group twice says that nothing changed.
    ///
    /// Dropping the future may leave the partitions added.
    ///
    /// # Errors
    /// [`AddPartitionsError`]; after `NotServed` the partitions exist.
    pub async fn add_partitions(
        &self,
        request: &AddPartitions,
        deadline: Deadline,
    ) -> Result<GrownTopic, AddPartitionsError> {
        // By id: a topic created again under the name meanwhile is not meant.
        let id = self.topic_named(&request.name, deadline).await?.id;
        let metadata = &self.inner.metadata;
        let (record, before) = if request.is_validate_only {
            metadata.preview_add_partitions(id, request.total)?
        } else {
            let (record, before) = metadata.add_partitions(id, request.total, deadline).await?;
            let present = usize::try_from(before).expect("32 bits fit in a usize");
            let waited = self.wait_served(record.placed().skip(present).collect(), deadline).await;
            waited.map_err(|waiting| AddPartitionsError::NotServed {
                name: record.name.clone(),
                waiting,
                partitions: record.partitions.len(),
            })?;
            (record, before)
        };
        Ok(GrownTopic { topic: self.describe_record(&Arc::new(record)), before })
    }
}
