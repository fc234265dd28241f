//! What lies behind the first bad frame of a file.

use std::collections::BTreeSet;

use quipu_types::ShardId;

use crate::frame::{ALIGNMENT, Frame, HEADER_BYTES, Header, Kind, MAGIC, offset, read_header};
use crate::width::{to_u64, to_usize};
use crate::{Ambiguity, Ambiguous, Damage, JournalFileId, JournalPosition};

/// The first bad frame, and whole frames of the same life of the file behind it.
pub(crate) struct Rest {
    pub(crate) place: JournalPosition,
    pub(crate) damage: Damage,
    /// Its header, if that is whole.
    pub(crate) bad_header: Option<Header>,
    pub(crate) later: Vec<Header>,
    /// The furthest byte that any of them says was durable.
    pub(crate) durable: u64,
    /// Whether the place looks written in this life of the file.
    has_traces: bool,
}

impl Rest {
    pub(crate) fn examine(bytes: &[u8], file: JournalFileId, byte: u64, damage: Damage) -> Self {
        let later = later_frames(bytes, file, byte + to_u64(ALIGNMENT));
        Self {
            place: JournalPosition { file, byte },
            damage,
            bad_header: read_header(bytes, file, byte).ok(),
            durable: later.iter().map(|header| header.durable).max().unwrap_or(0),
            later,
            has_traces: has_traces(bytes, file, byte),
        }
    }

    /// Whether a write was cut short here, rather than the log ending.
    pub(crate) fn is_torn(&self) -> bool {
        self.has_traces || self.bad_header.is_some() || !self.later.is_empty()
    }

    /// Groups that have frames here.
    pub(crate) fn shards(&self) -> BTreeSet<ShardId> {
        let headers = self.bad_header.iter().chain(&self.later);
        let subjects = headers.map(|header| header.subject);
        subjects.filter(|one| one.kind.has_shard()).map(|one| one.shard).collect()
    }

    /// Frames that may have been whole once.
    pub(crate) fn ambiguous(&self) -> Vec<Ambiguous> {
        let is_full_length = matches!(self.damage, Damage::Payload { .. });
        let bad = self.bad_header.iter().filter(|_| is_full_length);
        let bad = bad.map(|header| (header, Ambiguity::BadBody));
        let later = self.later.iter().map(|header| (header, Ambiguity::AfterBadFrame));
        bad.chain(later)
            .filter(|(header, _)| header.subject.kind.has_shard())
            .map(|(header, reason)| {
                let subject = header.subject;
                let entry = (subject.kind == Kind::Entry).then_some(subject.id);
                Ambiguous { shard: subject.shard, entry, position: header.place, reason }
            })
            .collect()
    }
}

/// Whole frames of this life of the file from `from` on, wherever they start.
pub(crate) fn later_frames(bytes: &[u8], file: JournalFileId, from: u64) -> Vec<Header> {
    let mut found = Vec::new();
    let mut at = from;
    while to_usize(at) + HEADER_BYTES <= bytes.len() {
        if bytes[to_usize(at)..].starts_with(&MAGIC)
            && let Ok(frame) = Frame::read(bytes, file, at)
        {
            found.push(frame.header);
            at = frame.header.end();
        } else {
            at += to_u64(ALIGNMENT);
        }
    }
    found
}

/// Whether a broken header names this life of the file.
fn has_traces(bytes: &[u8], file: JournalFileId, byte: u64) -> bool {
    let Some(rest) = bytes.get(to_usize(byte)..) else { return false };
    let named = rest.get(offset::FILE..).and_then(|rest| rest.first_chunk());
    rest.starts_with(&MAGIC) && named.map(|id| u64::from_le_bytes(*id)) == Some(file.get())
}
