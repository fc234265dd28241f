//! The format level of the cluster.

use quipu_proto::v1;
use serde::Serialize;

use super::{Admin, reading};
use crate::Result;
use crate::call::{Call, Target};
use crate::client::cluster_service;

/// A level that was finalized, or would be. Field names are those of the CLI's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FinalizedLevel {
    /// What the cluster was finalized at.
    pub before: u32,
    /// What it is finalized at now.
    pub level: u32,
}

impl Admin {
    /// Lets nodes write the formats of a level from now on, by default of the newest that any node
    /// has. There is no way back to a release without it.
    ///
    /// # Errors
    /// `LEVEL_UNSUPPORTED` names the nodes that lack the level; nothing is changed then.
    pub async fn finalize_level(&self, level: Option<u32>) -> Result<FinalizedLevel> {
        let action = "finalize the format level".to_owned();
        // Twice is as once: the level only grows.
        let call = Call { action, target: Target::Any, is_repeatable: true };
        self.level(call, level, false).await
    }

    /// What [`Self::finalize_level`] would do, as far as the answering node knows.
    ///
    /// # Errors
    /// As [`Self::finalize_level`].
    pub async fn preview_finalize_level(&self, level: Option<u32>) -> Result<FinalizedLevel> {
        self.level(reading("look at the format level", Target::Any), level, true).await
    }

    async fn level(
        &self,
        call: Call,
        level: Option<u32>,
        validate_only: bool,
    ) -> Result<FinalizedLevel> {
        let level = level.unwrap_or(0);
        let request = v1::FinalizeLevelRequest { level, validate_only, timeout_ms: 0 };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).finalize_level(request).await
            })
            .await?;
        Ok(FinalizedLevel { before: answer.level_before, level: answer.level })
    }
}
