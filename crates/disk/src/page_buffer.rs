//! Memory that a device can fetch by itself.

/// What direct writes must begin and end on: no device in use has larger units, and the page cache
/// keeps files in it.
pub const PAGE_BYTES: usize = 4096;

/// Bytes that begin on a page boundary, in memory that is used again.
#[derive(Debug, Default)]
pub struct PageBuffer {
    /// One page more than is used, so that a boundary lies in it.
    memory: Vec<u8>,
    /// Where the boundary is.
    start: usize,
    length: usize,
}

impl PageBuffer {
    /// Forgets the bytes, and memory beyond a bound.
    pub fn clear(&mut self, memory_kept: usize) {
        self.length = 0;
        if self.memory.len() > memory_kept + PAGE_BYTES {
            *self = Self::default();
        }
    }

    /// Makes room, so that adding moves nothing.
    pub fn reserve(&mut self, bytes: usize) {
        let needed = self.length + bytes;
        if self.start + needed <= self.memory.len() {
            return;
        }
        let mut memory = vec![0; needed.next_multiple_of(PAGE_BYTES) + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        memory[start..start + self.length].copy_from_slice(self.as_slice());
        (self.memory, self.start) = (memory, start);
    }

    /// Adds bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let at = self.start + self.length;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Adds zeros up to the next page boundary.
    pub fn fill_page(&mut self) {
        let padding = self.length.next_multiple_of(PAGE_BYTES) - self.length;
        self.extend_from_slice(&[0; PAGE_BYTES][..padding]);
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_in_order_on_a_page_boundary_however_it_grows() {
        let mut buffer = PageBuffer::default();
        for round in 0..3 {
            let mut expected = Vec::new();
            for length in [0, 1, 4095, 4096, 70_000, 3] {
                let piece = vec![u8::try_from(length % 251).unwrap(); length];
                buffer.extend_from_slice(&piece);
                expected.extend(piece);
                assert_eq!(buffer.as_slice(), expected, "round {round}");
                let is_aligned = buffer.as_slice().as_ptr().align_offset(PAGE_BYTES) == 0;
                assert!(is_aligned || expected.is_empty(), "round {round}");
            }
            buffer.fill_page();
            assert_eq!(buffer.as_slice().len(), expected.len().next_multiple_of(PAGE_BYTES));
            assert!(buffer.as_slice()[expected.len()..].iter().all(|byte| *byte == 0));
            buffer.clear(if round == 1 { 0 } else { 1 << 20 });
            assert!(buffer.as_slice().is_empty());
        }
    }
}
