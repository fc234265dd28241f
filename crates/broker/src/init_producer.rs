//! Ids for idempotent producers (KIP-98), handed out from blocks of the metadata group.

use std::ops::Range;

use quipu_metadata::MetadataError;
use quipu_runtime::Deadline;
use quipu_types::{Effect, ErrorCode, ProducerEpoch, ProducerId, Retry};
use tokio::sync::Mutex;

use crate::Broker;
use crate::error::OperationError;

/// Why there is no id.
#[derive(Debug, thiserror::Error)]
pub enum InitProducerError {
    /// The metadata group gave no block. An id may be lost: nobody notices.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The deadline passed.
    #[error("the deadline passed before a producer id was allocated")]
    Deadline,
}

impl OperationError for InitProducerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Metadata(error) => error.code(),
            Self::Deadline => ErrorCode::DeadlineExceeded,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            // An id that nobody holds is no effect to anybody.
            Self::Metadata(_) | Self::Deadline => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Metadata(error) => error.retry(),
            Self::Deadline => Retry::After(crate::error::RETRY_LATER),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// What is left of the node's block. The lock is held while a block is fetched: one is enough for
/// all who wait.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl Broker {
    /// Hands out an id that no other producer has had or will have.
    ///
    /// Dropping the future may lose an id; ids are never short.
    ///
    /// # Errors
    /// The metadata group has no leader, or did not answer in time.
    pub async fn init_producer(
        &self,
        deadline: Deadline,
    ) -> Result<(ProducerId, ProducerEpoch), InitProducerError> {
        let take = self.take_producer_id(deadline);
        let id = deadline.timeout(self.clock(), take).await;
        id.map_err(|_| InitProducerError::Deadline)?.map(|id| (id, ProducerEpoch::new(0)))
    }

    async fn take_producer_id(&self, deadline: Deadline) -> Result<ProducerId, InitProducerError> {
        let mut block = self.inner.producer_ids.block.lock().await;
        if block.is_empty() {
            let allocate = Box::pin(self.inner.metadata.allocate_producer_ids(deadline));
            *block = allocate.await?;
        }
        let id = block.next().expect("a fresh block is not empty");
        Ok(ProducerId::new(id))
    }
}
