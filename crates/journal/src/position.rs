//! Where a frame lies.

use std::fmt;

/// A file of the journal, and its generation: numbers grow and are never used again, so bytes of
/// an earlier life of a recycled file cannot be taken for this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalFileId(u64);

impl JournalFileId {
    const SUFFIX: &str = ".journal";

    /// Wraps a number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(crate) fn file_name(self) -> String {
        format!("{:020}{}", self.0, Self::SUFFIX)
    }

    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(Self::SUFFIX)?;
        let is_canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_canonical.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for JournalFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The first byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalPosition {
    /// The file.
    pub file: JournalFileId,
    /// The byte in it.
    pub byte: u64,
}

impl fmt::Display for JournalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.byte)
    }
}
