//! One open file.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;

use crate::PageBuffer;

/// An open file. All calls block; positions are explicit, so that handles can be shared.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at most `buf.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Fills `buf`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let position = at + u64::try_from(done).expect("a buffer's length fits in 64 bits");
            match self.read_at(&mut buf[done..], position)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes all of `buf`, extending the file as needed.
    ///
    /// # Errors
    /// `StorageFull`, or as the operating system says; an unknown part may have been written.
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()>;

    /// Writes all buffers one after another.
    ///
    /// # Errors
    /// As [`Self::write_all_at`].
    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Writes whole pages at a page boundary, around the page cache where the file system can: for
    /// what is seldom read again.
    ///
    /// # Errors
    /// As [`Self::write_all_at`].
    fn write_pages(&self, pages: &PageBuffer, at: u64) -> io::Result<()> {
        self.write_all_at(pages.as_slice(), at)
    }

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// A failure must not be retried: the lost pages count as clean.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the bytes and all attributes durable (`fsync`).
    ///
    /// # Errors
    /// As [`Self::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Has the operating system begin to write these bytes, and does not wait: the flush that makes
    /// them durable finds little left, and the disk serves others meanwhile. Promises nothing; what
    /// goes wrong is told by that flush.
    fn begin_writeback(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Writes zeros over `[from, to)`: blocks that were written once flush faster than blocks
    /// that are merely reserved.
    ///
    /// # Errors
    /// As [`Self::write_all_at`].
    fn fill_zero(&self, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let zeros = zeros(to - at);
            self.write_all_at(zeros, at)?;
            at += u64::try_from(zeros.len()).expect("a chunk's length fits in 64 bits");
        }
        Ok(())
    }
}

/// Zeros where a device can fetch them without a copy.
#[repr(align(4096))]
struct Zeros([u8; 1 << 20]);

/// As many zeros as are wanted, at most a mebibyte; they begin on a page.
pub(crate) fn zeros(wanted: u64) -> &'static [u8] {
    static ZEROS: Zeros = Zeros([0; 1 << 20]);
    let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(ZEROS.0.len());
    &ZEROS.0[..count]
}
