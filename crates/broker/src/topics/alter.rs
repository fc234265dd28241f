//! Changing a topic's settings.

use std::sync::Arc;

use quipu_metadata::topic_config::ConfigKey;
use quipu_metadata::{InvalidConfig, MetadataError, Refusal, Setting};
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, InvalidTopicName, Retry, TopicName};

use super::{ConfigTexts, TopicDescription, name_code, parse_settings};
use crate::Broker;
use crate::error::OperationError;

/// Settings to change, all of them or none.
#[derive(Clone, Debug, Default)]
pub struct AlterTopic {
    /// The topic's name.
    pub name: String,
    /// To set.
    pub set: ConfigTexts,
    /// To set back to their defaults.
    pub reset: Vec<String>,
    /// Check everything, change nothing.
    pub is_validate_only: bool,
}

/// Why nothing was changed, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterTopicError {
    /// No topic could have this name.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// A setting.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl OperationError for AlterTopicError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Name(error) => name_code(error),
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::Metadata(error) => error.code(),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Name(_) | Self::Config(_) => Effect::None,
            Self::Metadata(error) => error.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Name(_) | Self::Config(_) => Retry::Never,
            Self::Metadata(error) => error.retry(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Name(_) => Vec::new(),
            Self::Config(error) => Refusal::InvalidConfig(error.clone()).fields(),
            Self::Metadata(error) => error.fields(),
        }
    }
}

impl Broker {
    /// Changes settings of a topic; returns it as it is then.
    ///
    /// Dropping the future may leave the change made.
    ///
    /// # Errors
    /// [`AlterTopicError`]; the call may always be repeated.
    pub async fn alter_topic(
        &self,
        request: &AlterTopic,
        deadline: Deadline,
    ) -> Result<TopicDescription, AlterTopicError> {
        let name = TopicName::new(&request.name)?;
        let set = parse_settings(&request.set)?;
        let reset = parse_keys(&request.reset)?;
        let metadata = &self.inner.metadata;
        let altered = if request.is_validate_only {
            metadata.preview_alter_topic(name, set, reset)?
        } else {
            metadata.alter_topic(name, set, reset, deadline).await?
        };
        Ok(self.describe_record(&Arc::new(altered)))
    }
}

fn parse_keys(names: &[String]) -> Result<Vec<ConfigKey>, InvalidConfig> {
    names.iter().map(|name| parse_key(name)).collect()
}

/// The key of a name; the value that goes with it here is beside the point.
fn parse_key(name: &str) -> Result<ConfigKey, InvalidConfig> {
    match Setting::parse(name, "") {
        Ok(setting) => Ok(setting.key()),
        Err(
            InvalidConfig::Value { key, .. }
            | InvalidConfig::SetAndReset { key }
            | InvalidConfig::NotByPolicy { key },
        ) => Ok(key),
        Err(other @ (InvalidConfig::UnknownKey { .. } | InvalidConfig::EmptyPolicy)) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_to_reset_are_known_or_refused_with_a_suggestion() {
        assert_eq!(parse_key("min-insync"), Ok(ConfigKey::MinInsync));
        let refused = parse_key("min-insnc").expect_err("a typing error");
        assert!(refused.to_string().contains("min-insync"), "{refused}");
    }
}
