//! The set of segments as readers see it: immutable, replaced as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use quipu_types::Offset;

use crate::active::Active;
use crate::sealed::Sealed;

/// Sealed segments in order, and the one that grows.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) active: Arc<Active>,
}

/// A segment of a view.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Sealed(Arc<Sealed>),
    Active(Arc<Active>),
}

impl View {
    /// The first offset of the first segment.
    pub(crate) fn start(&self) -> Offset {
        self.sealed.first().map_or(self.active.base, |sealed| sealed.base)
    }

    /// The segment an offset belongs to; `None` before the first.
    pub(crate) fn locate(&self, offset: Offset) -> Option<Segment> {
        if offset >= self.active.base {
            return Some(Segment::Active(Arc::clone(&self.active)));
        }
        let after = self.sealed.partition_point(|sealed| sealed.base <= offset);
        let sealed = after.checked_sub(1).map(|place| &self.sealed[place]);
        sealed.map(|sealed| Segment::Sealed(Arc::clone(sealed)))
    }
}

/// What the writer shares with the readers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) view: ArcSwap<View>,
    size_bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, view: View) -> Self {
        let shared = Self { dir, view: ArcSwap::from_pointee(view), size_bytes: AtomicU64::new(0) };
        shared.recount();
        shared
    }

    /// Replaces the set of segments.
    pub(crate) fn replace(&self, view: View) {
        self.view.store(Arc::new(view));
        self.recount();
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn grow(&self, bytes: u64) {
        self.size_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn recount(&self) {
        let view = self.view.load();
        let sealed: u64 = view.sealed.iter().map(|sealed| sealed.bytes).sum();
        self.size_bytes.store(sealed + view.active.read().bytes, Ordering::Relaxed);
    }
}
