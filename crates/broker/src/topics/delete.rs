//! Deleting a topic.

use quipu_metadata::MetadataError;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, InvalidTopicName, Retry, TopicId, TopicName};

use super::name_code;
use crate::Broker;
use crate::error::OperationError;

/// Why a topic was not deleted, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// No topic could have this name.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl OperationError for DeleteTopicError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Name(error) => name_code(error),
            Self::Metadata(error) => error.code(),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Name(_) => Effect::None,
            Self::Metadata(error) => error.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Name(_) => Retry::Never,
            Self::Metadata(error) => error.retry(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Name(_) => Vec::new(),
            Self::Metadata(error) => error.fields(),
        }
    }
}

impl Broker {
    /// Deletes a topic. Its data goes in the background, shard by shard; nobody can reach it from
    /// now on.
    ///
    /// Dropping the future may leave the topic deleted.
    ///
    /// # Errors
    /// [`DeleteTopicError`].
    pub async fn delete_topic(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<TopicId, DeleteTopicError> {
        let name = TopicName::new(name)?;
        Ok(self.inner.metadata.delete_topic(name, deadline).await?)
    }
}
