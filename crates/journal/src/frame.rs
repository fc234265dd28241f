//! The bytes of one frame. Byte table: `docs/formats/journal.md`, checked by a test.
//!
//! A frame names its own place (file generation and position), so that neither bytes of a recycled
//! file's earlier life nor a payload that happens to look like a frame is ever replayed.

use quipu_types::{EntryId, LogIndex, ShardId, Term};

use crate::width::{to_u64, to_usize};
use crate::{Damage, JournalFileId, JournalPosition};

mod header;
pub(crate) mod start;

pub(crate) use self::header::{Header, offset};

/// Bytes of a frame before its payload.
pub(crate) const HEADER_BYTES: usize = 64;
/// Frames start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The version of the whole format.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// "QJF" and a byte that is not text.
pub(crate) const MAGIC: [u8; 4] = [b'Q', b'J', b'F', 0xB1];

/// What a frame says. Persisted; never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First frame of a file: restates every group, so that older files may go.
    Start = 1,
    /// One Raft entry.
    Entry = 2,
    /// The group's vote.
    Vote = 3,
    /// The group's committed log id.
    Committed = 4,
    /// Entries after `index` are void; with [`FLAG_NONE_KEPT`] all are.
    Truncate = 5,
    /// Entries up to (term, index) are no longer needed.
    Purge = 6,
    /// The group is gone with all it had.
    Remove = 7,
    /// Says only what every frame says: up to where the file is durable. Written when the journal
    /// goes idle, so that damage of the last write can be told from a torn one.
    Mark = 8,
}

/// On a truncation: nothing is kept.
pub(crate) const FLAG_NONE_KEPT: u8 = 1;

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Start,
        Self::Entry,
        Self::Vote,
        Self::Committed,
        Self::Truncate,
        Self::Purge,
        Self::Remove,
        Self::Mark,
    ];

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Entry => 2,
            Self::Vote => 3,
            Self::Committed => 4,
            Self::Truncate => 5,
            Self::Purge => 6,
            Self::Remove => 7,
            Self::Mark => 8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Entry => "entry",
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Truncate => "truncate",
            Self::Purge => "purge",
            Self::Remove => "remove",
            Self::Mark => "mark",
        }
    }

    /// Whether it belongs to one group.
    pub(crate) const fn has_shard(self) -> bool {
        match self {
            Self::Start | Self::Mark => false,
            Self::Entry
            | Self::Vote
            | Self::Committed
            | Self::Truncate
            | Self::Purge
            | Self::Remove => true,
        }
    }
}

/// What a frame says beside its place and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) shard: ShardId,
    pub(crate) id: EntryId,
}

impl Subject {
    pub(crate) fn new(kind: Kind, shard: ShardId) -> Self {
        Self { kind, flags: 0, shard, id: EntryId::default() }
    }

    pub(crate) fn entry(shard: ShardId, id: EntryId) -> Self {
        Self { id, ..Self::new(Kind::Entry, shard) }
    }

    pub(crate) fn purge(shard: ShardId, upto: EntryId) -> Self {
        Self { id: upto, ..Self::new(Kind::Purge, shard) }
    }

    pub(crate) fn truncate(shard: ShardId, last_kept: Option<LogIndex>) -> Self {
        let id = EntryId::new(Term::default(), last_kept.unwrap_or_default());
        let flags = if last_kept.is_none() { FLAG_NONE_KEPT } else { 0 };
        Self { id, flags, ..Self::new(Kind::Truncate, shard) }
    }
}

/// One whole frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that should start at `byte` of a file's bytes.
    pub(crate) fn read(bytes: &'a [u8], file: JournalFileId, byte: u64) -> Result<Self, Damage> {
        let rest = bytes.get(to_usize(byte)..).ok_or(Damage::Short)?;
        let frame = Self::read_alone(rest, JournalPosition { file, byte })?;
        // A file that grew as it was written may end within the padding.
        if frame.header.end() > to_u64(bytes.len()) {
            return Err(Damage::Short);
        }
        Ok(frame)
    }

    /// Reads the frame that starts the given bytes, which lie at `place` of a file.
    pub(crate) fn read_alone(bytes: &'a [u8], place: JournalPosition) -> Result<Self, Damage> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(Damage::Short)?;
        let header = Header::decode(header, place)?;
        let end = HEADER_BYTES + to_usize(u64::from(header.payload_bytes));
        let payload = bytes.get(HEADER_BYTES..end).ok_or(Damage::Short)?;
        header.check_payload(payload)?;
        Ok(Self { header, payload })
    }
}

/// Reads the header of the frame that should start at `byte` of a file's bytes.
pub(crate) fn read_header(bytes: &[u8], file: JournalFileId, byte: u64) -> Result<Header, Damage> {
    let rest = bytes.get(to_usize(byte)..).ok_or(Damage::Short)?;
    let header = rest.first_chunk::<HEADER_BYTES>().ok_or(Damage::Short)?;
    Header::decode(header, JournalPosition { file, byte })
}

/// Bytes of a frame with its padding.
pub(crate) fn frame_bytes(payload_bytes: u32) -> u64 {
    let whole = HEADER_BYTES + usize::try_from(payload_bytes).expect("usize has 64 bits");
    to_u64(whole.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests;
