//! How old the oldest record of each partition is that this node leads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_partition::PartitionHandle;
use quipu_runtime::run_blocking;
use quipu_types::record::BatchHeader;
use quipu_types::{Offset, PartitionId, TimestampMs};

/// Partitions looked at for one page of metrics: each may cost a read of the disk.
const LOOKS_MAX: usize = 256;
/// What was found is looked at again after so long: compaction may have removed it.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// When the oldest record of a partition was written, as far as it was looked at.
#[derive(Debug, Default)]
pub(crate) struct OldestRecords(Mutex<HashMap<PartitionId, Found>>);

#[derive(Clone, Copy, Debug)]
struct Found {
    log_start: Offset,
    /// By the monotonic clock.
    looked: Duration,
    written: Option<TimestampMs>,
}

impl OldestRecords {
    /// Looks at those of `led` that nobody looked at for a while, the longest ago first; forgets
    /// all others. Gives what is known of the rest, too.
    pub(crate) async fn look(
        &self,
        led: Vec<PartitionHandle>,
        now: Duration,
    ) -> HashMap<PartitionId, TimestampMs> {
        let due = self.due(&led, now);
        let read = move || {
            let find = |handle: PartitionHandle| {
                let log_start = handle.progress().log_start();
                let written = written_at(&handle, None);
                (handle.id(), Found { log_start, looked: now, written })
            };
            due.into_iter().map(find).collect::<Vec<_>>()
        };
        let found = run_blocking(read).await.unwrap_or_default();
        let mut known = self.lock();
        known.extend(found);
        known.iter().filter_map(|(id, found)| Some((*id, found.written?))).collect()
    }

    fn due(&self, led: &[PartitionHandle], now: Duration) -> Vec<PartitionHandle> {
        let mut known = self.lock();
        let mut kept = HashMap::with_capacity(led.len());
        let mut due = Vec::new();
        for handle in led {
            let progress = handle.progress();
            let found = known.get(&handle.id()).copied();
            // A trim moved the start: what was found is gone.
            let found = found.filter(|found| found.log_start == progress.log_start());
            if progress.log_start() == progress.high_watermark() {
                continue;
            }
            let is_fresh = |found: &Found| now.saturating_sub(found.looked) < GOOD_FOR;
            if !found.as_ref().is_some_and(is_fresh) {
                due.push((found.map(|found| found.looked), handle));
            }
            kept.extend(found.map(|found| (handle.id(), found)));
        }
        *known = kept;
        due.sort_by_key(|(looked, _)| *looked);
        due.into_iter().take(LOOKS_MAX).map(|(_, handle)| handle.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the batch was written that a reader at `position` reads next, at the log start without one;
/// none when there is nothing to read, or it cannot be read.
pub(crate) fn written_at(
    handle: &PartitionHandle,
    position: Option<Offset>,
) -> Option<TimestampMs> {
    let progress = handle.progress();
    let start = progress.log_start();
    let from = position.map_or(start, |position| position.max(start));
    if from >= progress.high_watermark() {
        return None;
    }
    let batches = handle.read(from, 1).ok()?;
    BatchHeader::decode(batches.first()?).map(|header| header.base_timestamp)
}
