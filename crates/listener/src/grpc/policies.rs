//! Policies: settings that topics inherit by their names.

use quipu_broker::policies::{PolicyDescription, SetPolicy};
use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message};

/// Makes or replaces a policy.
pub(super) async fn set(
    context: Context,
    request: v1::SetPolicyRequest,
) -> Result<v1::SetPolicyResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let set = SetPolicy {
        pattern: request.pattern,
        settings: topic_message::config(request.config),
        is_validate_only: request.validate_only,
    };
    Ok(match context.broker.set_policy(&set, deadline).await {
        Ok(described) => v1::SetPolicyResponse { policy: Some(policy(&described)), error: None },
        Err(error) => v1::SetPolicyResponse { policy: None, error: Some(error_map::error(&error)) },
    })
}

/// Removes a policy.
pub(super) async fn delete(
    context: Context,
    request: v1::DeletePolicyRequest,
) -> Result<v1::DeletePolicyResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let deleted =
        context.broker.delete_policy(&request.pattern, request.validate_only, deadline).await;
    Ok(match deleted {
        Ok(described) => v1::DeletePolicyResponse { policy: Some(policy(&described)), error: None },
        Err(error) => {
            v1::DeletePolicyResponse { policy: None, error: Some(error_map::error(&error)) }
        }
    })
}

/// Lists all policies.
pub(super) async fn list(
    context: Context,
    _: v1::ListPoliciesRequest,
) -> Result<v1::ListPoliciesResponse, Refusal> {
    let policies = context.broker.policies();
    Ok(v1::ListPoliciesResponse { policies: policies.iter().map(policy).collect() })
}

fn policy(described: &PolicyDescription) -> v1::Policy {
    let settings = described.policy.settings.iter();
    v1::Policy {
        pattern: described.policy.pattern.to_string(),
        config: settings
            .map(|setting| (setting.key().name().to_owned(), setting.value()))
            .collect(),
        topics: u32::try_from(described.topics).unwrap_or(u32::MAX),
    }
}
