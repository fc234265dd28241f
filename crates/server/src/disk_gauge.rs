//! Measures the disk and says how much room there is (CAPABILITIES §1.39).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Unit, describe_gauge, gauge};
use quipu_broker::storage_guard::{Full, StorageGuard};
use quipu_consensus::{Consensus, DiskRoom};
use quipu_runtime::run_blocking;

/// Between two looks: a fast disk takes some hundred megabytes meanwhile, at most.
const INTERVAL: Duration = Duration::from_millis(250);
/// The part of a disk that must be free, whatever the setting says.
const PART_OF_DISK: u64 = 10;
/// What is left of the required bytes when entries of other leaders are refused too.
const CRITICAL_PART: u64 = 4;
/// Room must have grown by this part before writes are taken again, or they would come and go.
const RELIEF_PART: u64 = 8;

const FREE: &str = "quipu_disk_free_bytes";
const REQUIRED: &str = "quipu_disk_required_bytes";

/// What is measured, and who is told.
pub(crate) struct DiskGauge {
    pub(crate) dir: PathBuf,
    /// As configured.
    pub(crate) min_free: u64,
    pub(crate) storage: StorageGuard,
    pub(crate) consensus: Arc<Consensus>,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    free: u64,
    whole: u64,
}

impl DiskGauge {
    /// Looks until cancelled.
    pub(crate) async fn run(self) {
        describe_gauge!(FREE, Unit::Bytes, "Bytes free on the disk of the data directory");
        describe_gauge!(REQUIRED, Unit::Bytes, "Bytes that must be free, or writes are refused");
        let mut room = DiskRoom::Enough;
        loop {
            let dir = self.dir.clone();
            match run_blocking(move || measure(&dir)).await {
                Ok(Ok(space)) => room = self.tell(space, room),
                Ok(Err(error)) => tracing::warn!(%error, "the disk cannot be measured"),
                Err(_) => return,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn tell(&self, space: Space, before: DiskRoom) -> DiskRoom {
        let required = required(self.min_free, space.whole);
        let room = judge(space.free, required, before);
        let free = space.free;
        gauge!(FREE).set(float(free));
        gauge!(REQUIRED).set(float(required));
        self.storage.measured(free, required);
        match room {
            DiskRoom::Enough => self.storage.open(),
            DiskRoom::Short | DiskRoom::Critical => self.storage.close(Full { free, required }),
        }
        self.consensus.set_disk_room(room);
        if room != before {
            match room {
                DiskRoom::Enough => tracing::info!(free, required, "the disk has room again"),
                DiskRoom::Short => tracing::warn!(
                    free,
                    required,
                    "the disk is short of room: writes are refused until there is more; delete \
                     topics or records, shorten retention, or grow the disk"
                ),
                DiskRoom::Critical => tracing::error!(
                    free,
                    required,
                    "the disk is nearly full: entries of other leaders are refused too"
                ),
            }
        }
        room
    }
}

fn measure(dir: &std::path::Path) -> std::io::Result<Space> {
    let found = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), whole: bytes(found.f_blocks) })
}

fn required(min_free: u64, whole: u64) -> u64 {
    min_free.min(whole / PART_OF_DISK)
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

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_counts_unless_the_disk_is_small() {
        assert_eq!(required(1_000, 1 << 40), 1_000);
        assert_eq!(required(1_000, 5_000), 500);
        assert_eq!(required(0, 5_000), 0);
    }

    #[test]
    fn states_follow_the_room_and_do_not_flutter() {
        use DiskRoom::{Critical, Enough, Short};
        let steps = [
            (Enough, 800, Enough),
            (Enough, 799, Short),
            (Short, 850, Short),
            (Short, 900, Enough),
            (Short, 200, Short),
            (Short, 199, Critical),
            (Critical, 220, Critical),
            (Critical, 225, Short),
            (Critical, 1_000, Enough),
            (Enough, 0, Critical),
        ];
        for (before, free, after) in steps {
            assert_eq!(judge(free, 800, before), after, "{before:?}, {free} free");
        }
        assert_eq!(judge(0, 0, Enough), Enough, "switched off");
    }

    #[test]
    fn a_directory_is_measured() {
        let space = measure(std::path::Path::new("/")).expect("the root");
        assert!(space.whole > 0 && space.free <= space.whole, "{space:?}");
        assert!(measure(std::path::Path::new("/nowhere/at/all")).is_err());
    }
}
