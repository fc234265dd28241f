//! Operations that fail or take long.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fuser::Errno;

/// What a file is for, by the directory it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The journal.
    Journal,
    /// Segments of partitions and their indexes.
    Segments,
    /// Tables of RocksDB.
    Tables,
    /// Everything else.
    Other,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Flush,
}

/// Operations that fail, or take longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) operation: Operation,
    /// On these files; on all of them without.
    pub(crate) class: Option<Class>,
    /// So much longer; without it they fail with EIO.
    pub(crate) delay: Option<Duration>,
}

/// The trouble of a layer.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    current: Mutex<Option<Trouble>>,
    struck: AtomicU64,
}

impl Class {
    /// The class of a file at a path below a node's disk.
    pub(crate) fn of(path: &Path) -> Self {
        let is_in = |name: &str| path.components().any(|part| part.as_os_str() == name);
        if is_in("journal") {
            Self::Journal
        } else if is_in("partitions") {
            Self::Segments
        } else if is_in("meta") {
            Self::Tables
        } else {
            Self::Other
        }
    }
}

impl Troubles {
    pub(super) fn set(&self, trouble: Option<Trouble>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        self.struck.store(0, Ordering::Relaxed);
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    /// Lets an operation pass, after a while or not at all.
    pub(super) fn meet(&self, operation: Operation, class: Class) -> Result<(), Errno> {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes = |it: &Trouble| {
            it.operation == operation && it.class.is_none_or(|wanted| wanted == class)
        };
        let Some(trouble) = current.filter(strikes) else { return Ok(()) };
        self.struck.fetch_add(1, Ordering::Relaxed);
        let delay = trouble.delay.ok_or(Errno::EIO)?;
        wait(delay);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "to take long is what is asked for")]
fn wait(delay: Duration) {
    std::thread::sleep(delay);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_directory() {
        let of = |path: &str| Class::of(Path::new(path));
        assert_eq!(of("/x/data/journal/0001"), Class::Journal);
        assert_eq!(of("/x/data/partitions/7/00.log"), Class::Segments);
        assert_eq!(of("/x/data/meta/000012.sst"), Class::Tables);
        assert_eq!(of("/x/data/VERSION"), Class::Other);
    }

    #[test]
    fn only_what_was_asked_for_fails_and_it_is_counted() {
        let troubles = Troubles::default();
        let (operation, class) = (Operation::Flush, Some(Class::Journal));
        troubles.set(Some(Trouble { operation, class, delay: None }));
        assert!(troubles.meet(Operation::Write, Class::Journal).is_ok());
        assert!(troubles.meet(Operation::Flush, Class::Tables).is_ok());
        assert_eq!(troubles.struck(), 0);
        assert_eq!(troubles.meet(Operation::Flush, Class::Journal), Err(Errno::EIO));
        assert_eq!(troubles.struck(), 1);
        troubles.set(None);
        assert!(troubles.meet(Operation::Flush, Class::Journal).is_ok());
        assert_eq!(troubles.struck(), 0);
    }

    #[test]
    fn slow_operations_succeed_later() {
        let troubles = Troubles::default();
        let delay = Some(Duration::from_millis(20));
        troubles.set(Some(Trouble { operation: Operation::Read, class: None, delay }));
        let begun = quipu_runtime::Clock::thread_instant();
        assert!(troubles.meet(Operation::Read, Class::Other).is_ok());
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert_eq!(troubles.struck(), 1);
    }
}
