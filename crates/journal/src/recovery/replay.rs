//! Frames, in the order they were written, back into states and indexes.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::{LogIndex, ShardId};

use crate::frame::{FLAG_NONE_KEPT, Frame, Kind, start};
use crate::index::Slot;
use crate::ledger::Ledger;
use crate::recovery::runs::Runs;
use crate::{Damage, JournalFileId};

#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) ledger: Ledger,
    /// The entries found; those the ledger calls live may be missing.
    pub(crate) found: BTreeMap<ShardId, Runs>,
    /// Bytes of frames replayed.
    pub(crate) bytes: u64,
    /// The furthest byte of the file at hand that is known to be durable.
    pub(crate) durable: u64,
}

impl Replay {
    /// Replays the frames of a file up to `end`; gives where it stopped, and why if before.
    pub(crate) fn run(
        &mut self,
        bytes: &[u8],
        file: JournalFileId,
        end: u64,
    ) -> (u64, Option<Damage>) {
        let mut at = 0;
        while at < end {
            let replayed = Frame::read(bytes, file, at).and_then(|frame| {
                self.frame(frame)?;
                Ok(frame.header)
            });
            match replayed {
                Ok(header) => {
                    self.durable = self.durable.max(header.durable);
                    self.bytes += header.end() - at;
                    at = header.end();
                }
                Err(damage) => return (at, Some(damage)),
            }
        }
        (at, None)
    }

    pub(crate) fn frame(&mut self, frame: Frame<'_>) -> Result<(), Damage> {
        let Frame { header, payload } = frame;
        let (shard, id) = (header.subject.shard, header.subject.id);
        start::check_index(id.index)?;
        match header.subject.kind {
            Kind::Start => self.restate(header.place.file, payload)?,
            Kind::Entry => {
                let live = self.ledger.groups.get(&shard).and_then(|group| group.live);
                if live.is_some_and(|live| id.index != live.last.next()) {
                    return Err(Damage::Contradiction("an entry does not follow the one before"));
                }
                let mut slot = Slot::new(id.term, payload.len());
                slot.place(header.place);
                self.found.entry(shard).or_default().push(id.index, slot);
                self.ledger.append(header.place.file, shard, id.index);
            }
            Kind::Vote => self.ledger.save_vote(shard, Bytes::copy_from_slice(payload)),
            Kind::Committed => self.ledger.save_committed(shard, Bytes::copy_from_slice(payload)),
            Kind::Truncate => {
                let is_none_kept = header.subject.flags & FLAG_NONE_KEPT != 0;
                self.truncate(shard, (!is_none_kept).then_some(id.index));
            }
            Kind::Purge => {
                self.found.entry(shard).or_default().drop_before(id.index.next().get());
                self.ledger.purge(shard, id);
            }
            Kind::Remove => {
                self.found.remove(&shard);
                self.ledger.remove(shard);
            }
            Kind::Mark => {}
        }
        Ok(())
    }

    fn truncate(&mut self, shard: ShardId, last_kept: Option<LogIndex>) {
        let end = last_kept.map_or(0, |last| last.next().get());
        self.found.entry(shard).or_default().truncate(end);
        self.ledger.truncate_after(shard, last_kept);
    }

    /// A start says all that still holds: files before it may be missing.
    fn restate(&mut self, file: JournalFileId, payload: &[u8]) -> Result<(), Damage> {
        self.ledger = start::decode(payload)?;
        let groups = &self.ledger.groups;
        self.found.retain(|shard, _| groups.contains_key(shard));
        for (shard, group) in groups {
            self.found.entry(*shard).or_default().keep(group.live);
        }
        self.ledger.start_file(file);
        Ok(())
    }
}
