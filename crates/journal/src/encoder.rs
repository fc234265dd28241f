//! Frames on their way to one write.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;
use quipu_disk::DiskFile;

use crate::JournalPosition;
use crate::frame::{ALIGNMENT, Header, Subject};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::width::to_u64;

/// What the page cache keeps files in.
const PAGE_BYTES: usize = 4096;

/// Collects frames: headers and small payloads copied into one buffer, large payloads as they lie.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the part of `buffer` starts that no piece names yet.
    unnamed: usize,
    bytes: u64,
    frames: usize,
}

#[derive(Debug)]
enum Piece {
    Buffered(Range<usize>),
    Shared(Bytes),
}

impl Encoder {
    /// Bytes collected.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames collected.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Adds a frame that will lie at `place`.
    pub(crate) fn push(
        &mut self,
        subject: Subject,
        payload: &Bytes,
        place: JournalPosition,
        durable: u64,
    ) {
        let header = Header::new(subject, place, durable, payload);
        self.buffer.extend_from_slice(&header.encode());
        if payload.len() >= SHARED_PAYLOAD_BYTES_MIN {
            self.name_buffered();
            self.pieces.push(Piece::Shared(payload.clone()));
        } else {
            self.buffer.extend_from_slice(payload);
        }
        let padding = payload.len().next_multiple_of(ALIGNMENT) - payload.len();
        self.buffer.resize(self.buffer.len() + padding, 0);
        self.bytes += header.end() - place.byte;
        self.frames += 1;
    }

    /// Writes everything collected at `at` and forgets it. Zeros follow up to the end of the page,
    /// or of the file (`capacity`): the next write covers them, and no page has to be read first.
    pub(crate) fn write(&mut self, file: &dyn DiskFile, at: u64, capacity: u64) -> io::Result<()> {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        self.name_buffered();
        let mut slices: Vec<IoSlice<'_>> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Buffered(range) => IoSlice::new(&self.buffer[range.clone()]),
                Piece::Shared(payload) => IoSlice::new(payload),
            })
            .collect();
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        assert_eq!(to_u64(total), self.bytes, "frames fill their places exactly");
        let end = at + self.bytes;
        let page_end = end.next_multiple_of(to_u64(PAGE_BYTES)).min(capacity);
        let padding = usize::try_from(page_end.saturating_sub(end)).expect("less than a page");
        if padding > 0 {
            slices.push(IoSlice::new(&ZEROS[..padding]));
        }
        let written = match slices.as_slice() {
            [one] => file.write_all_at(one, at),
            many => file.write_all_vectored_at(many, at),
        };
        drop(slices);
        self.clear();
        written
    }

    fn clear(&mut self) {
        const BUFFER_KEPT: usize = 1 << 20;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        self.pieces.clear();
        self.unnamed = 0;
        self.bytes = 0;
        self.frames = 0;
    }

    fn name_buffered(&mut self) {
        if self.unnamed < self.buffer.len() {
            self.pieces.push(Piece::Buffered(self.unnamed..self.buffer.len()));
            self.unnamed = self.buffer.len();
        }
    }
}
