//! Policies: settings that topics inherit by their names.

use quipu_metadata::policy::InvalidPattern;
use quipu_metadata::{
    Image, InvalidConfig, MetadataError, Policy, PolicyChange, Refusal, Setting, TopicPattern,
};
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, Retry};

use crate::Broker;
use crate::error::OperationError;
use crate::topics::ConfigTexts;

/// A policy to make, or to put in place of the one of its pattern.
#[derive(Clone, Debug, Default)]
pub struct SetPolicy {
    /// For which topics.
    pub pattern: String,
    /// What they inherit.
    pub settings: ConfigTexts,
    /// Check everything, change nothing.
    pub is_validate_only: bool,
}

/// A policy with what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDescription {
    /// The policy.
    pub policy: Policy,
    /// Topics that have a setting from it.
    pub topics: usize,
}

/// Why nothing was changed, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// A setting.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The metadata group refused, or did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl OperationError for PolicyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Pattern(_) => ErrorCode::InvalidPolicy,
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::Metadata(error) => error.code(),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Pattern(_) | Self::Config(_) => Effect::None,
            Self::Metadata(error) => error.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Pattern(_) | Self::Config(_) => Retry::Never,
            Self::Metadata(error) => error.retry(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Pattern(_) => Vec::new(),
            Self::Config(error) => Refusal::InvalidConfig(error.clone()).fields(),
            Self::Metadata(error) => error.fields(),
        }
    }
}

impl Broker {
    /// Makes a policy, or replaces the one of its pattern; returns it with what it does then.
    ///
    /// Dropping the future may leave the change made.
    ///
    /// # Errors
    /// [`PolicyError`]; the call may always be repeated.
    pub async fn set_policy(
        &self,
        request: &SetPolicy,
        deadline: Deadline,
    ) -> Result<PolicyDescription, PolicyError> {
        let pattern = TopicPattern::new(&request.pattern)?;
        let settings = request.settings.iter().map(|(key, value)| Setting::parse(key, value));
        let policy = Policy::new(pattern, settings.collect::<Result<Vec<_>, _>>()?)?;
        let metadata = &self.inner.metadata;
        if request.is_validate_only {
            let (image, policy) = metadata.preview_policy(PolicyChange::Set(policy))?;
            return Ok(describe(&image, policy));
        }
        let policy = metadata.set_policy(policy, deadline).await?;
        Ok(describe(&self.image(), policy))
    }

    /// Removes the policy of a pattern; returns what it was and did.
    ///
    /// Dropping the future may leave the change made.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub async fn delete_policy(
        &self,
        pattern: &str,
        is_validate_only: bool,
        deadline: Deadline,
    ) -> Result<PolicyDescription, PolicyError> {
        let pattern = TopicPattern::new(pattern)?;
        let metadata = &self.inner.metadata;
        let topics = self.image().topics_under(&pattern);
        let policy = if is_validate_only {
            metadata.preview_policy(PolicyChange::Delete(pattern))?.1
        } else {
            metadata.delete_policy(pattern, deadline).await?
        };
        Ok(PolicyDescription { policy, topics })
    }

    /// All policies, in order of pattern, as this node knows them.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyDescription> {
        let image = self.image();
        let policies = image.policies.iter().map(|(pattern, settings)| Policy {
            pattern: pattern.clone(),
            settings: settings.to_vec(),
        });
        policies.map(|policy| describe(&image, policy)).collect()
    }
}

fn describe(image: &Image, policy: Policy) -> PolicyDescription {
    let topics = image.topics_under(&policy.pattern);
    PolicyDescription { policy, topics }
}
