//! Mends a log that is or was compacted: with everything another replica has, up to an offset.
//!
//! Replicas are compacted each by itself, so their bytes differ, and one segment of another replica
//! may hold a record whose tombstone this one has let go of. What a replica has from its start up
//! to some offset is whole in itself; it fits before what lies behind here if nothing was removed
//! there (`quipu_segment::PrefixCopy`), and if this replica is as far as the other one was: what
//! that one removed, it removed for records below its high watermark.

use std::time::Duration;

use quipu_partition::{MendError, PartitionHandle, Prefix, PrefixCopy};
use quipu_runtime::Deadline;
use quipu_types::record::ValidatedBatch;
use quipu_types::{NodeId, Offset};

use super::lend::{Asked, Piece};
use super::mend::{PIECE_WAIT, Unmended, blocking, split};
use crate::Broker;
use crate::calls;

/// How long this replica may take to get as far as the other one was.
const CATCH_UP_WAIT: Duration = Duration::from_secs(10);

/// Takes everything from one node. `None`: something still grows that must not.
pub(super) async fn replace_with(
    broker: &Broker,
    handle: &PartitionHandle,
    at: Offset,
    node: NodeId,
) -> Result<Option<Offset>, Unmended> {
    let reader = handle.clone();
    let mut copy = match blocking(move || reader.copy_prefix(at)).await? {
        Prefix::Copy(copy) => copy,
        Prefix::Growing(at) => {
            handle.want_seal(at);
            return Ok(None);
        }
    };
    let refused = |why: String| Unmended::Peer { node, why };
    let (mut loan, mut reached) = (0, Offset::ZERO);
    while let Some((from, until)) = copy.missing() {
        let asked = Asked { partition: handle.id(), loan, from, until };
        let deadline = Deadline::after(broker.clock(), PIECE_WAIT);
        let payload = asked.encode();
        let answer = broker.inner.consensus.call(node, calls::COPY_LOG, payload, deadline).await;
        let answer = answer.map_err(|error| refused(error.to_string()))?;
        let piece = Piece::decode(answer).ok_or_else(|| refused("it answers nonsense".into()))?;
        if loan == 0 {
            has_room(broker, piece.bytes_left)?;
            copy = begin(handle, copy, &piece).await?.map_err(refused)?;
            tracing::info!(partition = %handle.id(), %node, until = %copy.end(),
                bytes = piece.bytes_left, "a copy of a compacted log is taken");
        }
        if broker.inner.consensus.disk().full().is_some() {
            return Err(Unmended::DiskFull);
        }
        (loan, reached) = (piece.loan, reached.max(piece.high_watermark));
        let batches = checked(&asked, piece).map_err(refused)?;
        copy = blocking(move || {
            batches.iter().try_for_each(|batch| copy.put(batch))?;
            Ok(copy)
        })
        .await?;
    }
    let mut progress = handle.watch();
    let is_there = progress.wait_for(|progress| progress.high_watermark() >= reached);
    let deadline = Deadline::after(broker.clock(), CATCH_UP_WAIT);
    match deadline.timeout(broker.clock(), is_there).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(refused("it is ahead of this replica".to_owned())),
    }
    let end = copy.end();
    blocking(move || copy.finish()).await?;
    Ok(Some(end))
}

/// Whether the disk has room for so many bytes more, beyond what must stay free.
fn has_room(broker: &Broker, needed: u64) -> Result<(), Unmended> {
    let room = broker.inner.consensus.disk().spare();
    if needed > room { Err(Unmended::NoRoom { needed, room }) } else { Ok(()) }
}

/// Fills in what the other replica does not have any more, below the log start.
async fn begin(
    handle: &PartitionHandle,
    mut copy: Box<PrefixCopy>,
    first: &Piece,
) -> Result<Result<Box<PrefixCopy>, String>, MendError> {
    let (from, log_start) = (first.from, handle.progress().log_start());
    if from > log_start {
        return Ok(Err(format!("it begins at offset {from}, behind this one's log start")));
    }
    blocking(move || {
        copy.put_own(from)?;
        Ok(Ok(copy))
    })
    .await
}

/// The batches of a piece, as many as it says, and at least one.
fn checked(asked: &Asked, piece: Piece) -> Result<Vec<ValidatedBatch>, String> {
    let count = piece.count;
    let batches = split(piece.batches)?;
    if batches.is_empty() {
        return Err(format!("it has nothing from offset {} on", asked.from));
    }
    if u32::try_from(batches.len()) != Ok(count) {
        return Err(format!("it speaks of {count} batches and sends {}", batches.len()));
    }
    Ok(batches)
}
