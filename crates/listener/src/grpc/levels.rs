//! The format level of the cluster.

use quipu_proto::v1;
use quipu_types::FormatLevel;

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Answers a request to finalize a level.
pub(super) async fn finalize(
    context: Context,
    request: v1::FinalizeLevelRequest,
) -> Result<v1::FinalizeLevelResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let broker = &context.broker;
    let level = match request.level {
        0 => broker.newest_level(),
        level => FormatLevel::new(level),
    };
    let finalized = if request.validate_only {
        broker.preview_finalize_level(level)
    } else {
        broker.finalize_level(level, deadline).await
    };
    Ok(match finalized {
        Ok(finalized) => v1::FinalizeLevelResponse {
            level_before: finalized.before.get(),
            level: finalized.level.get(),
            error: None,
        },
        Err(error) => v1::FinalizeLevelResponse {
            error: Some(error_map::error(&error)),
            ..v1::FinalizeLevelResponse::default()
        },
    })
}
