//! A snapshot that leaves something out, on purpose.

use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{SnapshotCursor, SnapshotSource, StateMachineError};
use quipu_shard::sim;

/// For [`super::plant::Plant::SnapshotWithoutProducers`].
pub(crate) struct WithoutProducers(pub(crate) Arc<dyn SnapshotSource>);

impl SnapshotSource for WithoutProducers {
    fn manifest(&self) -> Bytes {
        sim::without_producers(&self.0.manifest())
    }

    fn chunk(
        &self,
        have: &Bytes,
        cursor: &mut SnapshotCursor,
    ) -> Result<Option<Bytes>, StateMachineError> {
        self.0.chunk(have, cursor)
    }
}
