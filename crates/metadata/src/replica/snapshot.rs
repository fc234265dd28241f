//! The metadata on its way to a node that lags: one document, cut into chunks.

use std::any::Any;
use std::sync::OnceLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_consensus::{SnapshotCursor, SnapshotReceiver, SnapshotSource, StateMachineError};

use super::stored;
use crate::state_machine::State;

/// Well below what one message between nodes may have.
const CHUNK_BYTES: usize = 1 << 20;
/// Far more than the largest cluster's metadata: a bound for what a peer may make us hold.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
/// Length and CRC32C of the document.
const MANIFEST_BYTES: usize = 12;

/// The sending side: encodes when it is first read, beside further applies.
pub(super) struct Source {
    state: State,
    document: OnceLock<Bytes>,
}

impl Source {
    pub(super) const fn new(state: State) -> Self {
        Self { state, document: OnceLock::new() }
    }

    fn document(&self) -> &Bytes {
        self.document.get_or_init(|| stored::encode_state(&self.state))
    }
}

impl SnapshotSource for Source {
    fn manifest(&self) -> Bytes {
        let document = self.document();
        let mut manifest = BytesMut::with_capacity(MANIFEST_BYTES);
        manifest.put_u64(u64::try_from(document.len()).expect("a length fits in 64 bits"));
        manifest.put_u32(crc32c::crc32c(document));
        manifest.freeze()
    }

    fn chunk(
        &self,
        _have: &Bytes,
        cursor: &mut SnapshotCursor,
    ) -> Result<Option<Bytes>, StateMachineError> {
        let document = self.document();
        let start = usize::try_from(cursor.0).unwrap_or(usize::MAX).min(document.len());
        let end = document.len().min(start + CHUNK_BYTES);
        cursor.0 = u64::try_from(end).expect("a length fits in 64 bits");
        Ok((start < end).then(|| document.slice(start..end)))
    }
}

/// The receiving side.
pub(super) struct Receiver {
    bytes: u64,
    crc: u32,
    document: BytesMut,
}

impl Receiver {
    pub(super) fn new(manifest: &Bytes) -> Result<Self, StateMachineError> {
        if manifest.len() != MANIFEST_BYTES {
            return Err(StateMachineError::new("the manifest has the wrong length"));
        }
        let mut manifest = manifest.clone();
        let (bytes, crc) = (manifest.get_u64(), manifest.get_u32());
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(StateMachineError::new(format!(
                "a snapshot of {bytes} bytes is too large"
            )));
        }
        Ok(Self { bytes, crc, document: BytesMut::new() })
    }

    /// What was received, once [`SnapshotReceiver::finish`] found it whole.
    pub(super) fn into_state(self) -> Result<State, StateMachineError> {
        stored::decode_state(&self.document)
            .map_err(|invalid| StateMachineError::new(invalid.to_string()))
    }

    fn received(&self) -> u64 {
        u64::try_from(self.document.len()).expect("a length fits in 64 bits")
    }
}

impl SnapshotReceiver for Receiver {
    fn have(&self) -> Bytes {
        Bytes::new()
    }

    fn write(&mut self, chunk: Bytes) -> Result<(), StateMachineError> {
        self.document.extend_from_slice(&chunk);
        if self.received() > self.bytes {
            return Err(StateMachineError::new("the snapshot is longer than its manifest says"));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StateMachineError> {
        let found = crc32c::crc32c(&self.document);
        if (self.received(), found) == (self.bytes, self.crc) {
            return Ok(());
        }
        Err(StateMachineError::new(format!(
            "the snapshot has {} bytes with checksum {found:08x}, its manifest says {} with {:08x}",
            self.received(),
            self.bytes,
            self.crc
        )))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
