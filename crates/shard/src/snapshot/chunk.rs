//! One piece of a snapshot on the wire and in the stage: sections of stored batches.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::row::{length, seal, unseal};

/// Layout version; see `row.rs`.
const VERSION: u8 = 1;
/// Bytes before the first section.
const HEADER_BYTES: usize = 4;
/// Bytes of a section before its batches.
const SECTION_BYTES: usize = 8;

/// A chunk is damaged or does not follow the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot chunk: {reason}")]
pub(crate) struct InvalidChunk {
    pub(crate) reason: String,
}

impl InvalidChunk {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Stored batches of one partition, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The partition's place in the manifest.
    pub(crate) place: u32,
    pub(crate) batches: Bytes,
}

/// Gathers sections until the chunk is large enough.
pub(crate) struct ChunkBuilder {
    bytes: BytesMut,
}

impl ChunkBuilder {
    pub(crate) fn new() -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        Self { bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    pub(crate) fn push(&mut self, place: u32, batches: &[Bytes]) {
        self.bytes.put_u32(place);
        self.bytes.put_u32(length(batches.iter().map(Bytes::len).sum()));
        for batch in batches {
            self.bytes.extend_from_slice(batch);
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        seal(self.bytes)
    }
}

/// The sections of a chunk, checksum checked.
pub(crate) fn sections(chunk: &Bytes) -> Result<Vec<Section>, InvalidChunk> {
    let mut bytes = unseal(chunk, HEADER_BYTES).map_err(|_| InvalidChunk::new("checksum"))?;
    bytes.advance(HEADER_BYTES);
    let mut sections = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < SECTION_BYTES {
            return Err(InvalidChunk::new("section header is cut"));
        }
        let place = bytes.get_u32();
        let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
        if bytes.len() < length {
            return Err(InvalidChunk::new("section is cut"));
        }
        sections.push(Section { place, batches: bytes.split_to(length) });
    }
    Ok(sections)
}
