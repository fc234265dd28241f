//! Policies: settings that topics inherit by their names.

use std::collections::BTreeMap;

use quipu_proto::v1;
use serde::Serialize;

use super::{Admin, changing, reading};
use crate::call::{Call, Target};
use crate::client::admin_service;
use crate::{Error, Result};

/// What topics inherit whose names match a pattern. Field names are those of the CLI's JSON.
///
/// `*` in the pattern stands for any characters. Key by key, a topic's own setting comes first,
/// then the policy with the longest beginning before its first `*`, then the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// For which topics.
    pub pattern: String,
    /// `retention-time`, `retention-bytes`, `segment-bytes`, `segment-time`.
    pub config: BTreeMap<String, String>,
    /// How many topics have a setting from it; told by the cluster, not to it.
    pub topics: u32,
}

impl Policy {
    /// A policy that sets nothing yet.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self { pattern: pattern.into(), ..Self::default() }
    }

    /// Sets a key: `.set("retention-time", "90d")`.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    fn from_proto(policy: Option<v1::Policy>, call: &Call) -> Result<Self> {
        let absent = || Error::invalid(format!("{}: the answer has no policy", call.action));
        policy.map(Self::from).ok_or_else(absent)
    }
}

impl From<v1::Policy> for Policy {
    fn from(policy: v1::Policy) -> Self {
        let v1::Policy { pattern, config, topics } = policy;
        Self { pattern, config: config.into_iter().collect(), topics }
    }
}

impl Admin {
    /// Makes a policy, or puts it in place of the one of the same pattern. It acts at once, on
    /// topics that exist and on those to come.
    ///
    /// ```no_run
    /// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
    /// use quipu_client::Policy;
    ///
    /// let policy = Policy::new("healthtech.*").set("retention-time", "90d");
    /// let policy = client.admin().set_policy(policy).await?;
    /// println!("{} topics inherit from it", policy.topics);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `INVALID_POLICY`, `INVALID_CONFIG`.
    pub async fn set_policy(&self, policy: Policy) -> Result<Policy> {
        self.put_policy(policy, false).await
    }

    /// What [`Self::set_policy`] would do, as far as the answering node knows.
    ///
    /// # Errors
    /// As [`Self::set_policy`].
    pub async fn preview_set_policy(&self, policy: Policy) -> Result<Policy> {
        self.put_policy(policy, true).await
    }

    async fn put_policy(&self, policy: Policy, validate_only: bool) -> Result<Policy> {
        // The same policy twice is as once.
        let action = format!("set policy {:?}", policy.pattern);
        let call = Call { action, target: Target::Any, is_repeatable: true };
        let request = v1::SetPolicyRequest {
            pattern: policy.pattern,
            config: policy.config.into_iter().collect(),
            validate_only,
            timeout_ms: 0,
        };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).set_policy(request).await
            })
            .await?;
        Policy::from_proto(answer.policy, &call)
    }

    /// Removes the policy of a pattern and returns what it was.
    ///
    /// # Errors
    /// `UNKNOWN_POLICY`, `INVALID_POLICY`.
    pub async fn delete_policy(&self, pattern: &str) -> Result<Policy> {
        self.remove_policy(pattern, false).await
    }

    /// What [`Self::delete_policy`] would remove, as far as the answering node knows.
    ///
    /// # Errors
    /// As [`Self::delete_policy`].
    pub async fn preview_delete_policy(&self, pattern: &str) -> Result<Policy> {
        self.remove_policy(pattern, true).await
    }

    async fn remove_policy(&self, pattern: &str, validate_only: bool) -> Result<Policy> {
        let call = changing(format!("delete policy {pattern:?}"));
        let pattern = pattern.to_owned();
        let request = v1::DeletePolicyRequest { pattern, validate_only, timeout_ms: 0 };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).delete_policy(request).await
            })
            .await?;
        Policy::from_proto(answer.policy, &call)
    }

    /// All policies, by pattern.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn list_policies(&self) -> Result<Vec<Policy>> {
        let call = reading("list policies", Target::Any);
        let request = v1::ListPoliciesRequest::default();
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).list_policies(request).await
            })
            .await?;
        Ok(answer.policies.into_iter().map(Policy::from).collect())
    }
}
