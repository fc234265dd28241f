//! Creating a topic, and waiting until every partition of it is served.

use std::sync::Arc;

use quipu_metadata::{InvalidConfig, MetadataError, NewTopic, Refusal};
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, InvalidTopicName, Retry, TopicId, TopicName, limits};

use super::{ConfigTexts, TopicDescription, name_code, parse_settings};
use crate::Broker;
use crate::error::{OperationError, RETRY_LATER};

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// 0 means 1.
    pub partitions: u32,
    /// 0 means 3, or the number of nodes when there are fewer.
    pub replication: u32,
    /// Settings other than the defaults.
    pub config: ConfigTexts,
    /// Check everything, create nothing.
    pub is_validate_only: bool,
}

/// Why a topic was not created, or is not served yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// No topic could have this name.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// A setting.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// No topic has so many replicas.
    #[error("replication {given} is out of bounds: use 1 to {}", limits::REPLICATION_MAX)]
    Replication {
        /// As asked for.
        given: u32,
    },
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The topic exists, but not all of it is served yet.
    #[error(
        "topic {name} was created, but {waiting} of its {partitions} partitions are not served yet"
    )]
    NotServed {
        /// Its name.
        name: TopicName,
        /// Partitions without a leader that serves.
        waiting: usize,
        /// All its partitions.
        partitions: usize,
    },
}

impl OperationError for CreateTopicError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Name(error) => name_code(error),
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::Replication { .. } => ErrorCode::InvalidReplication,
            Self::Metadata(error) => error.code(),
            Self::NotServed { .. } => ErrorCode::DeadlineExceeded,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Name(_) | Self::Config(_) | Self::Replication { .. } => Effect::None,
            Self::Metadata(error) => error.effect(),
            Self::NotServed { .. } => Effect::Unknown,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Name(_) | Self::Config(_) | Self::Replication { .. } => Retry::Never,
            Self::Metadata(error) => error.retry(),
            Self::NotServed { .. } => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Name(_) => Vec::new(),
            Self::Config(error) => Refusal::InvalidConfig(error.clone()).fields(),
            Self::Replication { given } => {
                vec![("actual", given.to_string()), ("limit", limits::REPLICATION_MAX.to_string())]
            }
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
    /// Creates a topic; returns once every partition has a leader that serves.
    ///
    /// Dropping the future may leave the topic created.
    ///
    /// # Errors
    /// [`CreateTopicError`]; after `NotServed` the topic exists.
    pub async fn create_topic(
        &self,
        request: &CreateTopic,
        deadline: Deadline,
    ) -> Result<TopicDescription, CreateTopicError> {
        let topic = self.new_topic(request)?;
        if request.is_validate_only {
            let preview = self.inner.metadata.preview_create_topic(topic)?;
            return Ok(self.describe_record(&Arc::new(preview)));
        }
        let created = self.inner.metadata.create_topic(topic, deadline).await?;
        let waited = self.wait_served(created.placed().collect(), deadline).await;
        waited.map_err(|waiting| CreateTopicError::NotServed {
            name: created.name.clone(),
            waiting,
            partitions: created.partitions.len(),
        })?;
        Ok(self.describe_record(&Arc::new(created)))
    }

    fn new_topic(&self, request: &CreateTopic) -> Result<NewTopic, CreateTopicError> {
        let given = request.replication;
        let replication =
            u8::try_from(given).ok().filter(|count| *count <= limits::REPLICATION_MAX);
        let replication = replication.ok_or(CreateTopicError::Replication { given })?;
        Ok(NewTopic {
            name: TopicName::new(&request.name)?,
            id: TopicId::new(uuid::Uuid::new_v4()),
            partitions: request.partitions.max(1),
            replication: (replication > 0).then_some(replication),
            config: parse_settings(&request.config)?,
        })
    }
}
