//! Gives a replica elsewhere everything stored up to an offset, in pieces that fit together.
//!
//! Pieces are read at different times, and compaction goes on meanwhile. That older records go
//! between two pieces is harmless: the newest of each key is in what is still to come, or came. But
//! a tombstone must not go, for the record that it speaks of may have come: none does while a loan
//! of the partition is open, and one that was not used for a while is none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_partition::ReadError;
use quipu_runtime::run_blocking;
use quipu_types::{Offset, PartitionId};

use super::mend::PIECE_BYTES;
use crate::Broker;
use crate::calls::{self, PARTITION_BYTES};

/// A loan that is not used for so long is over.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Loans of a node at once: each holds up the end of tombstones in its partition.
const LOANS_MAX: usize = 64;
const ASKED_BYTES: usize = PARTITION_BYTES + 24;
const HEADER_BYTES: usize = 36;

/// Copies that other replicas are taking.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    open: Mutex<BTreeMap<u64, Loan>>,
}

#[derive(Debug)]
struct Loan {
    partition: PartitionId,
    used_at: Duration,
}

impl Loans {
    fn with<T>(&self, now: Duration, look: impl FnOnce(&mut BTreeMap<u64, Loan>) -> T) -> T {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // What somebody found to be over stays so.
        open.retain(|_, loan| now.saturating_sub(loan.used_at) <= PAUSE_MAX);
        look(&mut open)
    }

    fn open(&self, partition: PartitionId, now: Duration) -> Option<u64> {
        let id = uuid::Uuid::new_v4().as_u64_pair().0.max(1);
        self.with(now, |open| {
            let has_room = open.len() < LOANS_MAX;
            has_room.then(|| open.insert(id, Loan { partition, used_at: now }))?;
            Some(id)
        })
    }

    fn renew(&self, id: u64, partition: PartitionId, now: Duration) -> bool {
        self.with(now, |open| match open.get_mut(&id).filter(|loan| loan.partition == partition) {
            Some(loan) => {
                loan.used_at = now;
                true
            }
            None => false,
        })
    }

    /// Whether somebody takes a copy of a partition.
    pub(crate) fn hold(&self, partition: PartitionId, now: Duration) -> bool {
        self.with(now, |open| open.values().any(|loan| loan.partition == partition))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) partition: PartitionId,
    /// 0: a new one, from the first offset there is at or above `from`.
    pub(super) loan: u64,
    pub(super) from: Offset,
    pub(super) until: Offset,
}

impl Asked {
    pub(super) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(ASKED_BYTES);
        calls::put_partition(&mut bytes, self.partition);
        bytes.put_u64(self.loan);
        bytes.put_u64(self.from.get());
        bytes.put_u64(self.until.get());
        bytes.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() != ASKED_BYTES {
            return None;
        }
        let partition = calls::get_partition(&mut bytes);
        let loan = bytes.get_u64();
        let (from, until) = (Offset::new(bytes.get_u64()), Offset::new(bytes.get_u64()));
        Some(Self { partition, loan, from, until })
    }
}

/// A piece of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) loan: u64,
    /// Where it begins.
    pub(super) from: Offset,
    /// Bytes from there to the end of the copy, by the segments they lie in.
    pub(super) bytes_left: u64,
    /// How far the replica was when it read this: what it removed, it removed for what lies below.
    pub(super) high_watermark: Offset,
    pub(super) count: u32,
    pub(super) batches: Bytes,
}

impl Piece {
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.batches.len());
        bytes.put_u64(self.loan);
        bytes.put_u64(self.from.get());
        bytes.put_u64(self.bytes_left);
        bytes.put_u64(self.high_watermark.get());
        bytes.put_u32(self.count);
        bytes.extend_from_slice(&self.batches);
        bytes.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        let (loan, from) = (bytes.get_u64(), Offset::new(bytes.get_u64()));
        let (bytes_left, high_watermark) = (bytes.get_u64(), Offset::new(bytes.get_u64()));
        let count = bytes.get_u32();
        Some(Self { loan, from, bytes_left, high_watermark, count, batches: bytes })
    }
}

impl Broker {
    /// The next piece of a copy for a replica elsewhere.
    pub(crate) async fn answer_log(&self, payload: Bytes) -> Result<Bytes, String> {
        let asked = Asked::decode(payload).ok_or("payload is not a range of a copy")?;
        let Asked { partition, until, .. } = asked;
        let handle = self.own_partition(partition).ok_or("it has no replica of the partition")?;
        let (loans, clock) = (&self.inner.loans, self.clock());
        let (loan, from) = match asked.loan {
            0 => {
                let loan = loans.open(partition, clock.monotonic());
                let loan = loan.ok_or("it gives copies to as many replicas as it may")?;
                (loan, asked.from.max(handle.first_offset()))
            }
            loan => (loan, asked.from),
        };
        let bytes_left = handle.bytes_between(from, until);
        let reader = handle.clone();
        let read = run_blocking(move || reader.copy_range(from, until, PIECE_BYTES)).await;
        let batches = read.map_err(|undone| undone.to_string())?;
        if let Err(ReadError::Corrupt(_)) = &batches {
            self.inner.damages.note(partition, from);
        }
        let batches = batches.map_err(|error| error.to_string())?;
        if !loans.renew(loan, partition, clock.monotonic()) {
            return Err("the copy was interrupted for too long: begin again".to_owned());
        }
        let high_watermark = handle.progress().high_watermark();
        let count = u32::try_from(batches.len()).map_err(|error| error.to_string())?;
        let batches = batches.concat().into();
        Ok(Piece { loan, from, bytes_left, high_watermark, count, batches }.encode())
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    fn partition(index: u32) -> PartitionId {
        PartitionId::new(TopicId::from_bytes([7; 16]), PartitionIndex::new(index))
    }

    #[test]
    fn questions_and_pieces_come_back_as_they_were_and_nothing_else_is_taken_for_one() {
        let (from, until) = (Offset::new(5), Offset::new(900));
        let asked = Asked { partition: partition(2), loan: 77, from, until };
        assert_eq!(Asked::decode(asked.encode()), Some(asked));
        assert_eq!(Asked::decode(asked.encode().slice(1..)), None);
        let piece = Piece {
            loan: 77,
            from,
            bytes_left: 12,
            high_watermark: until,
            count: 3,
            batches: Bytes::from_static(b"batches"),
        };
        assert_eq!(Piece::decode(piece.encode()), Some(piece.clone()));
        assert_eq!(Piece::decode(piece.encode().slice(..HEADER_BYTES - 1)), None);
    }

    #[test]
    fn a_loan_holds_tombstones_while_it_is_used_and_is_over_for_good() {
        let (loans, second) = (Loans::default(), Duration::from_secs(1));
        let id = loans.open(partition(1), Duration::ZERO).unwrap();
        assert!(loans.hold(partition(1), PAUSE_MAX) && !loans.hold(partition(2), PAUSE_MAX));
        assert!(!loans.renew(id, partition(2), PAUSE_MAX), "of another partition");
        assert!(loans.renew(id, partition(1), PAUSE_MAX));
        assert!(loans.hold(partition(1), PAUSE_MAX * 2));
        assert!(!loans.hold(partition(1), PAUSE_MAX * 2 + second));
        // Even for whose clock was read before.
        assert!(!loans.renew(id, partition(1), PAUSE_MAX * 2));
        let opened = (0..=LOANS_MAX).map(|_| loans.open(partition(3), PAUSE_MAX * 3));
        assert_eq!(opened.flatten().count(), LOANS_MAX);
    }
}
