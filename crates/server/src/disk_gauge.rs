//! Measures the disk and says how much room there is (CAPABILITIES §1.39).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Unit, describe_gauge, gauge};
use quipu_consensus::{Consensus, DiskRoom};
use quipu_runtime::run_blocking;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks when somebody waits for one.
const INTERVAL_DUE: Duration = Duration::from_millis(20);
/// The part of a disk that must be free, whatever the setting says.
const PART_OF_DISK: u64 = 10;
const FREE: &str = "quipu_disk_free_bytes";
const REQUIRED: &str = "quipu_disk_required_bytes";
const TOTAL: &str = "quipu_disk_total_bytes";
const STATE: &str = "quipu_disk_state";

/// What is measured, and who is told.
pub(crate) struct DiskGauge {
    pub(crate) dir: PathBuf,
    /// As configured.
    pub(crate) min_free: u64,
    pub(crate) consensus: Arc<Consensus>,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    free: u64,
    whole: u64,
}

/// Registers descriptions.
pub(crate) fn describe() {
    describe_gauge!(FREE, Unit::Bytes, "Bytes free on the disk of the data directory.");
    describe_gauge!(REQUIRED, Unit::Bytes, "Bytes that must be free, or writes are refused.");
    describe_gauge!(TOTAL, Unit::Bytes, "Bytes of the disk of the data directory.");
    describe_gauge!(
        STATE,
        "Room on the disk of the data directory. 0: enough; 1: less than twice what must be free; 2: writes are refused."
    );
}

impl DiskGauge {
    /// Looks until cancelled.
    pub(crate) async fn run(self) {
        loop {
            let dir = self.dir.clone();
            self.consensus.disk().begin_measuring();
            match run_blocking(move || measure(&dir)).await {
                Ok(Ok(space)) => self.tell(space),
                Ok(Err(error)) => tracing::warn!(%error, "the disk cannot be measured"),
                Err(_) => return,
            }
            tokio::time::sleep(INTERVAL_DUE).await;
            let due = self.consensus.disk().measurement_due();
            let _ = tokio::time::timeout(INTERVAL.saturating_sub(INTERVAL_DUE), due).await;
        }
    }

    fn tell(&self, space: Space) {
        let required = required(self.min_free, space.whole);
        let free = space.free;
        gauge!(FREE).set(float(free));
        gauge!(REQUIRED).set(float(required));
        gauge!(TOTAL).set(float(space.whole));
        let news = self.consensus.disk_measured(free, required);
        gauge!(STATE).set(state(space.free, required, self.consensus.disk().full().is_some()));
        match news {
            None => {}
            Some(DiskRoom::Enough) => tracing::info!(free, required, "the disk has room again"),
            Some(DiskRoom::Short) => tracing::warn!(
                free,
                required,
                "the disk is short of room: writes are refused until there is more; delete \
                 topics or records, shorten retention, or grow the disk"
            ),
            Some(DiskRoom::Critical) => tracing::error!(
                free,
                required,
                "the disk is nearly full: entries of other leaders are refused too"
            ),
        }
    }
}

fn measure(dir: &std::path::Path) -> std::io::Result<Space> {
    let found = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), whole: bytes(found.f_blocks) })
}

/// As [`STATE`] says.
fn state(free: u64, required: u64, is_full: bool) -> f64 {
    match (is_full, free < required.saturating_mul(2)) {
        (true, _) => 2.0,
        (false, true) => 1.0,
        (false, false) => 0.0,
    }
}

fn required(min_free: u64, whole: u64) -> u64 {
    min_free.min(whole / PART_OF_DISK)
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
    fn room_is_low_before_writes_are_refused() {
        let states = [(300, false), (200, false), (199, false), (120, true), (99, true)];
        let states = states.map(|(free, is_full)| state(free, 100, is_full));
        assert_eq!(states, [0.0, 0.0, 1.0, 2.0, 2.0], "full lasts until there is room to spare");
    }

    #[test]
    fn a_directory_is_measured() {
        let space = measure(std::path::Path::new("/")).expect("the root");
        assert!(space.whole > 0 && space.free <= space.whole, "{space:?}");
        assert!(measure(std::path::Path::new("/nowhere/at/all")).is_err());
    }
}
