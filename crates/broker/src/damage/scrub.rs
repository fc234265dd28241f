//! Reads everything that is stored here, again and again, to find damage before a reader does.

use std::time::Duration;

use quipu_partition::{PartitionHandle, ReadError};
use quipu_runtime::run_blocking;
use quipu_types::record::BatchHeader;
use quipu_types::{Offset, Progress};

use crate::{Broker, metrics};

/// Bytes read at once.
const STEP_BYTES: usize = 1 << 20;
/// The part of the interval a pass is to take: the rest is for what is written meanwhile.
const PART_OF_INTERVAL: u32 = 2;
/// Pauses shorter than this are saved up.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Spreads the reads of a pass over its time.
struct Pacer {
    /// Time per byte. Unit: nanoseconds.
    per_byte: f64,
    owed: Duration,
}

impl Pacer {
    fn new(bytes: u64, time: Duration) -> Self {
        let bytes = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1);
        let per_byte = time.as_secs_f64() * 1e9 / (f64::from(bytes) * 1024.0);
        Self { per_byte, owed: Duration::ZERO }
    }

    async fn pass(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // A small log is not read as slowly as the clock would allow.
        let slowest = Duration::from_secs_f64(f64::from(bytes) / (4.0 * 1024.0 * 1024.0));
        let due = Duration::from_secs_f64(f64::from(bytes) * self.per_byte / 1e9);
        self.owed += due.min(slowest);
        if self.owed >= PAUSE_MIN {
            tokio::time::sleep(std::mem::take(&mut self.owed)).await;
        }
    }
}

/// Walks until cancelled: a pass every `interval`, the first one after a small part of it, so that
/// nodes that are restarted often are looked through as well.
pub(super) async fn run(broker: Broker, interval: Duration) {
    tokio::time::sleep(interval / 24).await;
    loop {
        let begun = tokio::time::Instant::now();
        pass(&broker, interval).await;
        tokio::time::sleep_until(begun + interval).await;
    }
}

async fn pass(broker: &Broker, interval: Duration) {
    let handles = || {
        let shards = broker.inner.shards.all().into_iter();
        shards.flat_map(|shard| {
            let partitions = shard.partitions().into_iter();
            partitions.filter_map(move |partition| shard.partition(partition))
        })
    };
    let bytes: u64 = handles().map(|handle| handle.size_bytes()).sum();
    let mut pacer = Pacer::new(bytes, interval / PART_OF_INTERVAL);
    let handles: Vec<PartitionHandle> = handles().filter(|it| it.size_bytes() > 0).collect();
    for handle in handles {
        walk(broker, handle, &mut pacer).await;
    }
    metrics::scrubbed();
}

/// Reads one partition front to back; goes on behind what is damaged.
async fn walk(broker: &Broker, handle: PartitionHandle, pacer: &mut Pacer) {
    let mut at = handle.progress().log_start();
    loop {
        let progress = handle.progress();
        at = at.max(progress.log_start());
        if at >= progress.high_watermark() {
            return;
        }
        let reader = handle.clone();
        let read = run_blocking(move || step(&reader, at, progress)).await;
        match read.expect("a panic in a read is a panic here") {
            Ok((next, bytes)) => {
                at = next;
                pacer.pass(bytes).await;
            }
            Err(ReadError::Corrupt(damage)) => {
                let partition = handle.id();
                tracing::error!(%partition, offset = %at, %damage, "stored batches are damaged");
                broker.inner.damages.note(partition, at);
                let Some(extent) = handle.extent_of(at).filter(|extent| extent.is_sealed) else {
                    return;
                };
                at = extent.next;
            }
            // Trimmed meanwhile; the next turn begins where the log does now.
            Err(ReadError::OffsetOutOfRange { .. }) if handle.progress().log_start() > at => {}
            Err(error) => {
                tracing::warn!(partition = %handle.id(), %error, "it cannot be looked through");
                return;
            }
        }
    }
}

/// Reads and checks some batches; says where they end and how many bytes they are.
fn step(
    handle: &PartitionHandle,
    at: Offset,
    progress: Progress,
) -> Result<(Offset, usize), ReadError> {
    let batches = handle.read(at, STEP_BYTES)?;
    let bytes = batches.iter().map(bytes::Bytes::len).sum();
    let last = batches.last().and_then(|last| BatchHeader::decode(last));
    let end = match last {
        Some(last) => last.base_offset.plus(u64::try_from(last.record_count).unwrap_or(0)),
        None => progress.high_watermark(),
    };
    Ok((end, bytes))
}
