//! The payload of a file's first frame: all that older files said and that still holds.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use quipu_types::{EntryId, LogIndex, ShardId, Term};

use crate::ledger::{FileLedger, GroupLedger, Ledger, Live};
use crate::{Damage, JournalFileId};

const HAS_VOTE: u8 = 1;
const HAS_COMMITTED: u8 = 2;
const HAS_PURGED: u8 = 4;
const HAS_LIVE: u8 = 8;

/// Encodes what the ledger says of groups and sealed files.
pub(crate) fn encode(ledger: &Ledger) -> Bytes {
    let mut out = BytesMut::with_capacity(64 * (ledger.groups.len() + ledger.files.len()) + 8);
    out.put_u32_le(count(ledger.groups.len()));
    for (shard, group) in &ledger.groups {
        encode_group(&mut out, *shard, group);
    }
    let sealed: Vec<_> = ledger
        .files
        .iter()
        .filter_map(|(id, file)| file.end.map(|end| (*id, end, &file.residents)))
        .collect();
    out.put_u32_le(count(sealed.len()));
    for (id, end, residents) in sealed {
        out.put_u64_le(id.get());
        out.put_u64_le(end);
        out.put_u32_le(count(residents.len()));
        for (shard, live) in residents {
            out.put_u32_le(shard.get());
            put_live(&mut out, *live);
        }
    }
    out.freeze()
}

fn encode_group(out: &mut BytesMut, shard: ShardId, group: &GroupLedger) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.put_u32_le(shard.get());
    out.put_u8(
        flag(group.vote.is_some(), HAS_VOTE)
            | flag(group.committed.is_some(), HAS_COMMITTED)
            | flag(group.purged.is_some(), HAS_PURGED)
            | flag(group.live.is_some(), HAS_LIVE),
    );
    for blob in [&group.vote, &group.committed].into_iter().flatten() {
        out.put_u32_le(count(blob.len()));
        out.put_slice(blob);
    }
    if let Some(purged) = group.purged {
        out.put_u64_le(purged.term.get());
        out.put_u64_le(purged.index.get());
    }
    if let Some(live) = group.live {
        put_live(out, live);
    }
}

fn put_live(out: &mut BytesMut, live: Live) {
    out.put_u64_le(live.first.get());
    out.put_u64_le(live.last.get());
}

fn count(count: usize) -> u32 {
    u32::try_from(count).expect("groups, files and votes are far fewer than 2^32")
}

/// Decodes a ledger; the checksum was checked before, so a failure is a defect of the writer.
pub(crate) fn decode(payload: &[u8]) -> Result<Ledger, Damage> {
    let mut input = Input(payload);
    let mut ledger = Ledger::default();
    for _ in 0..input.u32()? {
        let shard = ShardId::new(input.u32()?);
        let group = decode_group(&mut input)?;
        ledger.groups.insert(shard, group);
    }
    for _ in 0..input.u32()? {
        let id = JournalFileId::new(input.u64()?);
        let end = Some(input.u64()?);
        let mut residents = BTreeMap::new();
        for _ in 0..input.u32()? {
            residents.insert(ShardId::new(input.u32()?), input.live()?);
        }
        ledger.files.insert(id, FileLedger { end, residents });
    }
    if !input.0.is_empty() {
        return Err(Damage::Contradiction("bytes after the last file"));
    }
    Ok(ledger)
}

fn decode_group(input: &mut Input<'_>) -> Result<GroupLedger, Damage> {
    let flags = input.u8()?;
    let has = |flag: u8| flags & flag != 0;
    Ok(GroupLedger {
        vote: if has(HAS_VOTE) { Some(input.blob()?) } else { None },
        committed: if has(HAS_COMMITTED) { Some(input.blob()?) } else { None },
        purged: if has(HAS_PURGED) { Some(input.entry_id()?) } else { None },
        live: if has(HAS_LIVE) { Some(input.live()?) } else { None },
    })
}

/// There is an index after every one that was ever given.
pub(crate) fn check_index(index: LogIndex) -> Result<(), Damage> {
    if index.get() == u64::MAX {
        return Err(Damage::Contradiction("an index beyond the last"));
    }
    Ok(())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) =
            self.0.split_at_checked(bytes).ok_or(Damage::Contradiction("a start too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        Ok(*self.take(N)?.first_chunk().expect("N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    fn blob(&mut self) -> Result<Bytes, Damage> {
        let bytes = usize::try_from(self.u32()?).expect("usize has 64 bits");
        self.take(bytes).map(Bytes::copy_from_slice)
    }

    fn entry_id(&mut self) -> Result<EntryId, Damage> {
        let id = EntryId::new(Term::new(self.u64()?), LogIndex::new(self.u64()?));
        check_index(id.index)?;
        Ok(id)
    }

    fn live(&mut self) -> Result<Live, Damage> {
        let (first, last) = (LogIndex::new(self.u64()?), LogIndex::new(self.u64()?));
        if last < first {
            return Err(Damage::Contradiction("a range ends before it starts"));
        }
        check_index(last)?;
        Ok(Live { first, last })
    }
}
