//! Whether this node takes writes, as far as its disk goes (CAPABILITIES §1.39).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

/// What is left of the required bytes when entries of other leaders are refused too.
const CRITICAL_PART: u64 = 4;
/// What is left of them, by count, when clients are refused before the next measurement says so.
const COUNTED_PART: u64 = 2;
/// Room must have grown by this part before writes are taken again, or they would come and go.
const RELIEF_PART: u64 = 8;
/// How often a byte is written: to the journal and to its partition.
const COPIES: u64 = 2;

/// How much room a node's disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum DiskRoom {
    /// Enough.
    #[default]
    Enough,
    /// Too little to take writes of clients: others should lead.
    Short,
    /// So little that it takes no entries of leaders either, to be able to go on voting and to end
    /// well.
    Critical,
}

impl DiskRoom {
    const ALL: [Self; 3] = [Self::Enough, Self::Short, Self::Critical];
}

/// The disk is too full to take what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is too full: {free} bytes are free, {required} must be")]
pub struct Full {
    /// Bytes free: when it was measured, less what was taken since.
    pub free: u64,
    /// Bytes that must be free.
    pub required: u64,
}

/// The room on this node's disk: as measured, less what was taken since.
///
/// Load fills a small disk between two measurements, so whoever writes much is counted meanwhile.
/// Reads, deletes and administration go on while it is full.
#[derive(Debug, Default)]
pub struct DiskSpace {
    /// A [`DiskRoom`], as measured.
    room: AtomicU8,
    free: AtomicU64,
    /// Bytes that must stay free; 0 while nobody measures.
    required: AtomicU64,
    /// Bytes taken since the last measurement began.
    taken: AtomicU64,
    /// Bytes taken before it, which may not have been written when it was made.
    taken_before: AtomicU64,
    /// Bytes that will be written a second time: of snapshots that are received.
    reserved: AtomicU64,
    /// A measurement is due before its time.
    due: Notify,
}

/// The room that a snapshot needs once more to be installed; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Arc<DiskSpace>,
    bytes: u64,
}

impl Reservation {
    /// For what an earlier transfer left.
    pub(crate) fn new(space: Arc<DiskSpace>, bytes: u64) -> Self {
        space.reserved.fetch_add(bytes, Ordering::AcqRel);
        Self { space, bytes }
    }

    /// Takes room for so many bytes more, and for as many again.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let bytes = count(bytes);
        let needed = Needed { now: bytes, later: bytes };
        self.space.take(needed, DiskRoom::Short, CRITICAL_PART)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl DiskSpace {
    /// To be called before measuring: what is taken from now on is not seen by it.
    pub fn begin_measuring(&self) {
        let taken = self.taken.swap(0, Ordering::AcqRel);
        self.taken_before.store(taken, Ordering::Release);
    }

    /// The disk was measured. Returns what to make of it, if that is new.
    pub(crate) fn measured(&self, free: u64, required: u64) -> Option<DiskRoom> {
        let before = self.measured_room();
        let now = judge(free, required, before);
        self.free.store(free, Ordering::Release);
        self.required.store(required, Ordering::Release);
        self.room.store(now as u8, Ordering::Release);
        (before != now).then_some(now)
    }

    /// Waits until somebody was refused by count alone. Dropping the future loses nothing.
    pub async fn measurement_due(&self) {
        self.due.notified().await;
    }

    /// Takes room for so many bytes of a client.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken.
    pub fn admit(&self, bytes: usize) -> Result<(), Full> {
        self.take(Needed::at_once(bytes), DiskRoom::Enough, COUNTED_PART)
    }

    /// Takes room for so many bytes of another leader's entries.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken.
    pub fn admit_entries(&self, bytes: usize) -> Result<(), Full> {
        self.take(Needed::at_once(bytes), DiskRoom::Short, CRITICAL_PART)
    }

    fn take(&self, needed: Needed, room_max: DiskRoom, part: u64) -> Result<(), Full> {
        let Needed { now, later } = needed;
        let required = self.required.load(Ordering::Acquire);
        let (left, room) = (self.left(), self.measured_room());
        if room as u8 > room_max as u8 {
            return Err(Full { free: left, required });
        }
        if required > 0 && left < now.saturating_add(later).saturating_add(required / part) {
            self.due.notify_one();
            return Err(Full { free: left, required });
        }
        self.taken.fetch_add(now, Ordering::AcqRel);
        self.reserved.fetch_add(later, Ordering::AcqRel);
        Ok(())
    }

    fn left(&self) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        let taken = taken.saturating_add(self.taken_before.load(Ordering::Acquire));
        let reserved = self.reserved.load(Ordering::Acquire);
        self.free.load(Ordering::Acquire).saturating_sub(taken).saturating_sub(reserved)
    }

    /// As measured last.
    #[must_use]
    pub fn measured_room(&self) -> DiskRoom {
        let room = self.room.load(Ordering::Acquire);
        DiskRoom::ALL.into_iter().find(|it| *it as u8 == room).unwrap_or_default()
    }

    /// Why writes are refused, if the last measurement was the reason.
    #[must_use]
    pub fn full(&self) -> Option<Full> {
        let required = self.required.load(Ordering::Acquire);
        let free = self.free.load(Ordering::Acquire);
        (self.measured_room() != DiskRoom::Enough).then_some(Full { free, required })
    }

    /// Bytes that may be written before writes are refused.
    #[must_use]
    pub fn spare(&self) -> u64 {
        match self.required.load(Ordering::Acquire) {
            0 => u64::MAX,
            required => self.left().saturating_sub(required),
        }
    }
}

/// Bytes of room.
struct Needed {
    now: u64,
    later: u64,
}

impl Needed {
    fn at_once(bytes: usize) -> Self {
        Self { now: count(bytes).saturating_mul(COPIES), later: 0 }
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The state that follows another. Going back needs some room more than going forth.
fn judge(free: u64, required: u64, before: DiskRoom) -> DiskRoom {
    let relief = |limit: u64| limit.saturating_add(limit / RELIEF_PART);
    let is_below =
        |limit: u64, was_below: bool| free < if was_below { relief(limit) } else { limit };
    if is_below(required / CRITICAL_PART, before == DiskRoom::Critical) {
        DiskRoom::Critical
    } else if is_below(required, before != DiskRoom::Enough) {
        DiskRoom::Short
    } else {
        DiskRoom::Enough
    }
}

#[cfg(test)]
mod tests;
