//! The bytes of one frame. Byte table: `docs/formats/journal.md`, checked by a test.
//!
//! A frame names its own place (file generation and position), so that neither bytes of a recycled
//! file's earlier life nor a payload that happens to look like a frame is ever replayed.

use quipu_types::{EntryId, LogIndex, ShardId, Term};

use crate::width::{to_u64, to_usize};
use crate::{Damage, JournalFileId, JournalPosition};

pub(crate) mod start;

/// Bytes of a frame before its payload.
pub(crate) const HEADER_BYTES: usize = 64;
/// Frames start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The version of the whole format.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// "QJF" and a byte that is not text.
pub(crate) const MAGIC: [u8; 4] = [b'Q', b'J', b'F', 0xB1];

/// Where each field starts.
pub(crate) mod offset {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const KIND: usize = 4;
    pub(crate) const FLAGS: usize = 5;
    pub(crate) const VERSION: usize = 6;
    pub(crate) const FILE: usize = 8;
    pub(crate) const POSITION: usize = 16;
    pub(crate) const DURABLE: usize = 24;
    pub(crate) const SHARD: usize = 32;
    pub(crate) const PAYLOAD_BYTES: usize = 36;
    pub(crate) const TERM: usize = 40;
    pub(crate) const INDEX: usize = 48;
    pub(crate) const PAYLOAD_CRC: usize = 56;
    pub(crate) const HEADER_CRC: usize = 60;
}

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

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) subject: Subject,
    pub(crate) version: u16,
    pub(crate) place: JournalPosition,
    /// Up to which byte the file was durable when this frame was written.
    pub(crate) durable: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
}

impl Header {
    pub(crate) fn new(
        subject: Subject,
        place: JournalPosition,
        durable: u64,
        payload: &[u8],
    ) -> Self {
        assert!(
            payload.len() <= crate::limits::PAYLOAD_BYTES_MAX,
            "a payload of {} bytes",
            payload.len()
        );
        assert!(durable <= place.byte, "durable up to {durable}, writing at {place}");
        Self {
            subject,
            version: FORMAT_VERSION,
            place,
            durable,
            payload_bytes: u32::try_from(payload.len()).expect("checked against the bound"),
            payload_crc: crc32c::crc32c(payload),
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, offset::MAGIC, MAGIC);
        put(&mut bytes, offset::KIND, [self.subject.kind.number()]);
        put(&mut bytes, offset::FLAGS, [self.subject.flags]);
        put(&mut bytes, offset::VERSION, self.version.to_le_bytes());
        put(&mut bytes, offset::FILE, self.place.file.get().to_le_bytes());
        put(&mut bytes, offset::POSITION, self.place.byte.to_le_bytes());
        put(&mut bytes, offset::DURABLE, self.durable.to_le_bytes());
        put(&mut bytes, offset::SHARD, self.subject.shard.get().to_le_bytes());
        put(&mut bytes, offset::PAYLOAD_BYTES, self.payload_bytes.to_le_bytes());
        put(&mut bytes, offset::TERM, self.subject.id.term.get().to_le_bytes());
        put(&mut bytes, offset::INDEX, self.subject.id.index.get().to_le_bytes());
        put(&mut bytes, offset::PAYLOAD_CRC, self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..offset::HEADER_CRC]);
        put(&mut bytes, offset::HEADER_CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the frame that should start at `place`.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        place: JournalPosition,
    ) -> Result<Self, Damage> {
        if get::<4>(bytes, offset::MAGIC) != MAGIC {
            return Err(Damage::NoFrame);
        }
        let expected = u32::from_le_bytes(get(bytes, offset::HEADER_CRC));
        let found = crc32c::crc32c(&bytes[..offset::HEADER_CRC]);
        if found != expected {
            return Err(Damage::Header { expected, found });
        }
        let named = JournalPosition {
            file: JournalFileId::new(u64::from_le_bytes(get(bytes, offset::FILE))),
            byte: u64::from_le_bytes(get(bytes, offset::POSITION)),
        };
        if named != place {
            return Err(Damage::Misplaced);
        }
        let kind = Kind::from_number(bytes[offset::KIND])
            .ok_or(Damage::Contradiction("the kind is unknown"))?;
        Ok(Self {
            subject: Subject {
                kind,
                flags: bytes[offset::FLAGS],
                shard: ShardId::new(u32::from_le_bytes(get(bytes, offset::SHARD))),
                id: EntryId::new(
                    Term::new(u64::from_le_bytes(get(bytes, offset::TERM))),
                    LogIndex::new(u64::from_le_bytes(get(bytes, offset::INDEX))),
                ),
            },
            version: u16::from_le_bytes(get(bytes, offset::VERSION)),
            place,
            durable: u64::from_le_bytes(get(bytes, offset::DURABLE)),
            payload_bytes: u32::from_le_bytes(get(bytes, offset::PAYLOAD_BYTES)),
            payload_crc: u32::from_le_bytes(get(bytes, offset::PAYLOAD_CRC)),
        })
    }

    /// Checks the payload against the header.
    pub(crate) fn check_payload(&self, payload: &[u8]) -> Result<(), Damage> {
        let found = crc32c::crc32c(payload);
        if found != self.payload_crc {
            return Err(Damage::Payload { expected: self.payload_crc, found });
        }
        Ok(())
    }

    /// The byte after the frame with its padding.
    pub(crate) fn end(&self) -> u64 {
        self.place.byte + frame_bytes(self.payload_bytes)
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
        let header = read_header(bytes, file, byte)?;
        let start = to_usize(byte) + HEADER_BYTES;
        let end = start + to_usize(u64::from(header.payload_bytes));
        let payload = bytes.get(start..end).ok_or(Damage::Short)?;
        header.check_payload(payload)?;
        Ok(Self { header, payload })
    }
}

/// Reads the header of the frame that should start at `byte` of a file's bytes.
pub(crate) fn read_header(
    bytes: &[u8],
    file: JournalFileId,
    byte: u64,
) -> Result<Header, Damage> {
    let rest = bytes.get(to_usize(byte)..).ok_or(Damage::Short)?;
    let header = rest.first_chunk::<HEADER_BYTES>().ok_or(Damage::Short)?;
    Header::decode(header, JournalPosition { file, byte })
}

/// Bytes of a frame with its padding.
pub(crate) fn frame_bytes(payload_bytes: u32) -> u64 {
    let whole = HEADER_BYTES + usize::try_from(payload_bytes).expect("usize has 64 bits");
    to_u64(whole.next_multiple_of(ALIGNMENT))
}

fn put<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn get<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("fields lie within the header")
}

#[cfg(test)]
mod tests;
