//! The header of a frame: where each field lies, and the checks of a place.

use quipu_types::{EntryId, LogIndex, ShardId, Term};

use super::{FORMAT_VERSION, HEADER_BYTES, Kind, MAGIC, Subject, frame_bytes};
use crate::{Damage, JournalFileId, JournalPosition};

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

fn put<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn get<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("fields lie within the header")
}
