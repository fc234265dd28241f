//! A snapshot on its way: read from a source on one node, written to a receiver on another.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quipu_runtime::run_blocking;

use crate::machine::Machine;
use crate::state_machine::{SnapshotCursor, SnapshotReceiver, SnapshotSource, StateMachineError};

/// What openraft carries about as a snapshot: a handle, never the bytes.
pub(crate) enum SnapshotData {
    /// On the node that has the state.
    Source(Arc<dyn SnapshotSource>),
    /// Nowhere: a checkpoint that stands for a snapshot, to let openraft purge behind it.
    Checkpoint,
    /// On the node that received it.
    Received(Box<dyn SnapshotReceiver>),
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "snapshot source",
            Self::Checkpoint => "checkpoint",
            Self::Received(_) => "received snapshot",
        })
    }
}

impl SnapshotData {
    /// Ready to install; a source is copied into `machine`'s own receiver first.
    pub(crate) async fn received(
        self,
        machine: &Machine,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        let source = match self {
            Self::Received(received) => return Ok(received),
            Self::Source(source) => source,
            Self::Checkpoint => return Err(StateMachineError::new("a checkpoint has no data")),
        };
        let mut receiver = machine.receiver(source.manifest()).await?;
        let copied = run_blocking(move || {
            let have = receiver.have();
            let mut cursor = SnapshotCursor::default();
            while let Some(chunk) = source.chunk(&have, &mut cursor)? {
                receiver.write(chunk)?;
            }
            receiver.finish()?;
            Ok(receiver)
        });
        copied.await.map_err(|_| StateMachineError::new("copying a snapshot panicked"))?
    }
}

/// Reads one chunk on the blocking pool.
pub(crate) async fn read_chunk(
    source: &Arc<dyn SnapshotSource>,
    have: &Bytes,
    cursor: SnapshotCursor,
) -> Result<(Option<Bytes>, SnapshotCursor), StateMachineError> {
    let (source, have) = (Arc::clone(source), have.clone());
    let read = run_blocking(move || {
        let mut cursor = cursor;
        source.chunk(&have, &mut cursor).map(|chunk| (chunk, cursor))
    });
    read.await.map_err(|_| StateMachineError::new("reading a snapshot panicked"))?
}

/// Writes one chunk on the blocking pool.
pub(crate) async fn write_chunk(
    mut receiver: Box<dyn SnapshotReceiver>,
    chunk: Bytes,
) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
    quipu_failpoint::hit("consensus.snapshot.receive.before");
    let written = run_blocking(move || receiver.write(chunk).map(|()| receiver));
    written.await.map_err(|_| StateMachineError::new("writing a snapshot panicked"))?
}

/// Ends a transfer on the blocking pool.
pub(crate) async fn finish(
    mut receiver: Box<dyn SnapshotReceiver>,
) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
    let finished = run_blocking(move || receiver.finish().map(|()| receiver));
    finished.await.map_err(|_| StateMachineError::new("finishing a snapshot panicked"))?
}
