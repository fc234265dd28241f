//! The format level of the cluster, as an operator raises it.

use quipu_runtime::Deadline;
use quipu_types::FormatLevel;

use crate::Broker;
use crate::nodes::ElasticError;

/// A level that was finalized, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedLevel {
    /// What the cluster was finalized at.
    pub before: FormatLevel,
    /// What it is finalized at now.
    pub level: FormatLevel,
}

impl Broker {
    /// The newest level that any node has, as far as this node knows; never below what is finalized.
    #[must_use]
    pub fn newest_level(&self) -> FormatLevel {
        let image = self.image();
        let newest = image.nodes.values().map(|record| record.levels.max).max();
        newest.unwrap_or(image.level).max(image.level)
    }

    /// Lets nodes write the formats of a level from now on.
    ///
    /// # Errors
    /// `LEVEL_UNSUPPORTED` names the nodes that lack the level; nothing is changed then.
    pub async fn finalize_level(
        &self,
        level: FormatLevel,
        deadline: Deadline,
    ) -> Result<FinalizedLevel, ElasticError> {
        let before = self.inner.metadata.finalize_level(level, deadline).await?;
        Ok(FinalizedLevel { before, level })
    }

    /// What [`Self::finalize_level`] would do, as far as this node knows.
    ///
    /// # Errors
    /// As [`Self::finalize_level`].
    pub fn preview_finalize_level(
        &self,
        level: FormatLevel,
    ) -> Result<FinalizedLevel, ElasticError> {
        let before = self.inner.metadata.preview_finalize_level(level)?;
        Ok(FinalizedLevel { before, level })
    }
}
