//! Frames on their way to one write.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use quipu_disk::{DiskFile, PAGE_BYTES, PageBuffer};

use crate::JournalPosition;
use crate::frame::{ALIGNMENT, Header, Subject};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::width::to_u64;

/// Memory for pages that is kept between writes.
const PAGES_KEPT: usize = 4 << 20;

/// Collects frames: headers and small payloads copied into one buffer, large payloads as they lie.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the part of `buffer` starts that no piece names yet.
    unnamed: usize,
    bytes: u64,
    frames: usize,
    /// Where a write is put together.
    pages: PageBuffer,
    /// What was written of the page that the next write begins in.
    last_page: Vec<u8>,
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

    /// Writes everything collected at `at` and forgets it: whole pages, so that they need neither be
    /// read nor kept in memory. What the first page holds already is written once more; zeros follow
    /// up to the end of the last.
    ///
    /// Calls for one file follow one another without gap; `at` 0 begins the next file.
    pub(crate) fn write(&mut self, file: &dyn DiskFile, at: u64) -> io::Result<()> {
        let page = to_u64(PAGE_BYTES);
        let begun = usize::try_from(at % page).expect("less than a page");
        self.last_page.truncate(begun);
        assert_eq!(self.last_page.len(), begun, "writes follow one another");
        self.name_buffered();
        self.pages.clear(PAGES_KEPT);
        self.pages.extend_from_slice(&self.last_page);
        let total = usize::try_from(self.bytes).expect("it is in memory");
        self.pages.reserve(total + PAGE_BYTES);
        for piece in &self.pieces {
            match piece {
                Piece::Buffered(range) => self.pages.extend_from_slice(&self.buffer[range.clone()]),
                Piece::Shared(payload) => self.pages.extend_from_slice(payload),
            }
        }
        let end = begun + total;
        assert_eq!(self.pages.as_slice().len(), end, "frames fill their places exactly");
        self.last_page.clear();
        self.last_page.extend_from_slice(&self.pages.as_slice()[end - end % PAGE_BYTES..]);
        self.pages.fill_page();
        let written = file.write_pages(&self.pages, at - at % page);
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
