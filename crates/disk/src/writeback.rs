//! Writing what grows, little by little.

use crate::{DiskFile, PAGE_BYTES};

/// Bytes that are begun to be written at once: few enough that a flush of somebody else waits
/// little behind them, enough for whole extents.
const PIECE_BYTES: u64 = 1 << 20;

/// Begins to write a file that grows while it grows. Without it the page cache collects everything
/// up to the flush, or for half a minute, and then writes it in one go: hundreds of megabytes,
/// behind which every flush of the journal waits.
#[derive(Debug, Default)]
pub struct Writeback {
    begun: u64,
}

impl Writeback {
    /// For a file that has so many bytes, which are somebody else's care.
    #[must_use]
    pub const fn behind(bytes: u64) -> Self {
        Self { begun: bytes }
    }

    /// The file has grown to `end`.
    pub fn grown(&mut self, file: &dyn DiskFile, end: u64) {
        // A page that is not full yet would be written twice.
        let whole = end - end % PAGE_BYTES as u64;
        if whole.saturating_sub(self.begun) >= PIECE_BYTES {
            file.begin_writeback(self.begun..whole);
            self.begun = whole;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::ops::Range;
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Begun(Mutex<Vec<Range<u64>>>);

    impl DiskFile for Begun {
        fn len(&self) -> io::Result<u64> {
            unimplemented!()
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            unimplemented!()
        }

        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unimplemented!()
        }

        fn write_all_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
            unimplemented!()
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unimplemented!()
        }

        fn sync_data(&self) -> io::Result<()> {
            unimplemented!()
        }

        fn sync_all(&self) -> io::Result<()> {
            unimplemented!()
        }

        fn begin_writeback(&self, range: Range<u64>) {
            self.0.lock().expect("no panic").push(range);
        }
    }

    #[test]
    fn whole_pages_are_begun_once_in_pieces() {
        let (file, page) = (Begun::default(), PAGE_BYTES as u64);
        let mut writeback = Writeback::behind(10);
        for end in (0..=3 * PIECE_BYTES).step_by(100_000) {
            writeback.grown(&file, end);
        }
        let begun = file.0.into_inner().expect("no panic");
        assert_eq!(begun.len(), 2, "{begun:?}");
        assert_eq!(begun[0].start, 10);
        assert_eq!(begun[0].end, begun[1].start);
        assert!(begun.iter().all(|it| it.end - it.start >= PIECE_BYTES && it.end % page == 0));
    }
}
