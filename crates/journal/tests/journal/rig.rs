//! Opening journals and counting their callbacks.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quipu_disk::{Disk, FaultyDisk};
use quipu_journal::{
    Config, FlushCallback, FlushFailed, Journal, JournalEntry, OnFatal, OpenError, RecoveryReport,
};

use crate::model::id;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/node/journal")
}

/// Small files, so that they roll all the time.
pub(crate) fn small() -> Config {
    Config { file_bytes: 8 << 10, recycled_files_max: 1, ..Config::default() }
}

/// Reasons given to `on_fatal`.
pub(crate) type Reasons = Arc<Mutex<Vec<String>>>;

pub(crate) fn reasons() -> (Reasons, OnFatal) {
    let reasons = Reasons::default();
    let writer = Arc::clone(&reasons);
    (reasons, Arc::new(move |reason| writer.lock().expect("reasons").push(reason)))
}

pub(crate) fn ignore() -> OnFatal {
    Arc::new(|_| {})
}

pub(crate) fn open_stepped(
    disk: &FaultyDisk,
    config: Config,
) -> Result<(Journal, RecoveryReport), OpenError> {
    Journal::open_stepped(Arc::new(disk.clone()), dir(), config, ignore())
}

pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, config: Config) -> Journal {
    Journal::open(disk, dir.to_owned(), config, ignore()).expect("open").0
}

pub(crate) fn entry(term: u64, index: u64, payload: impl Into<Bytes>) -> JournalEntry {
    JournalEntry { id: id(term, index), payload: payload.into() }
}

/// A callback that nobody asks about.
pub(crate) fn unasked() -> FlushCallback {
    Box::new(|_| {})
}

/// A callback to wait for.
pub(crate) fn awaited() -> (FlushCallback, mpsc::Receiver<Result<(), FlushFailed>>) {
    let (sender, receiver) = mpsc::channel();
    let callback = Box::new(move |result| {
        // The test may have given up.
        let _ = sender.send(result);
    });
    (callback, receiver)
}

/// Seeds to run: one, if `QUIPU_SEED` names it, else `count` (or `QUIPU_SEEDS`).
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("QUIPU_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUIPU_SEEDS").unwrap_or(count),
    }
}

/// Runs a test for each seed, over all cores; a failing seed is named with the way to replay it.
#[expect(clippy::print_stderr, reason = "a failing seed is for the eyes of who ran the test")]
pub(crate) fn for_each_seed(count: u64, test: &str, run: impl Fn(u64) + Sync) {
    let next = std::sync::atomic::AtomicU64::new(0);
    let range = seeds(count);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let offset = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let seed = range.start + offset;
                    if seed >= range.end {
                        return;
                    }
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
                    if let Err(panic) = ran {
                        eprintln!(
                            "seed {seed} failed; replay with: QUIPU_SEED={seed} cargo test -p \
                             quipu-journal --test journal {test}"
                        );
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}
