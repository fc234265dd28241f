//! From a name to its topic.

use std::sync::Arc;

use quipu_metadata::TopicRecord;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, InvalidTopicName, Retry, TopicName};

use crate::Broker;
use crate::error::{OperationError, RETRY_LATER};

/// Why a name leads to no topic. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No topic could have this name.
    #[error(transparent)]
    Invalid(#[from] InvalidTopicName),
    /// No topic has it; the metadata group confirmed it.
    #[error("no topic has the name {name:?}")]
    Unknown {
        /// The name asked for.
        name: TopicName,
    },
    /// This node could not find out whether the topic exists.
    #[error("the topic is not known here, and the metadata group cannot be asked at the moment")]
    MetadataUnavailable,
}

/// The code of a bad name.
pub(crate) fn name_code(error: &InvalidTopicName) -> ErrorCode {
    if matches!(error, InvalidTopicName::Protected { .. }) {
        ErrorCode::TopicProtected
    } else {
        ErrorCode::InvalidTopicName
    }
}

impl OperationError for LookupError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(error) => name_code(error),
            Self::Unknown { .. } => ErrorCode::UnknownTopic,
            Self::MetadataUnavailable => ErrorCode::ControllerUnavailable,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Invalid(_) | Self::Unknown { .. } | Self::MetadataUnavailable => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) | Self::Unknown { .. } => Retry::Never,
            Self::MetadataUnavailable => Retry::After(RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unknown { name } => vec![("topic", name.to_string())],
            Self::Invalid(_) | Self::MetadataUnavailable => Vec::new(),
        }
    }
}

impl Broker {
    /// The topic of a name. One that is not known here is asked for at the controller before it is
    /// called unknown.
    pub(crate) async fn topic_named(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Arc<TopicRecord>, LookupError> {
        let name = TopicName::new(name)?;
        if let Some(topic) = self.image().topic(&name) {
            return Ok(Arc::clone(topic));
        }
        if !self.confirm_image(deadline).await {
            return Err(LookupError::MetadataUnavailable);
        }
        self.image().topic(&name).cloned().ok_or(LookupError::Unknown { name })
    }
}
