//! The set of segments as readers see it: immutable, replaced as a whole.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use quipu_types::Offset;

use crate::active::Active;
use crate::reader::SegmentReader;
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
    /// Held while the view is changed: the writer adds and removes segments, compaction replaces
    /// them. Readers never take it.
    changing: Mutex<()>,
    /// Segments below were sealed as of a durable checkpoint: no restart touches them.
    settled: AtomicU64,
    /// The first offset of a growing segment that is to be sealed, whatever its size.
    to_seal: AtomicU64,
}

/// What became of a replacement.
pub(crate) enum Swap {
    /// The new segment is there.
    Done(Arc<Sealed>),
    /// The old one went before.
    Gone,
}

impl SegmentReader {
    /// Puts a segment in the place of an old one, if that is still there; `rename` does so on the
    /// disk.
    pub(crate) fn swap(
        &self,
        old: &Arc<Sealed>,
        new: Sealed,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Swap> {
        let shared = self.shared();
        let _guard = shared.lock();
        let view = shared.view.load_full();
        let Some(place) = view.sealed.iter().position(|it| Arc::ptr_eq(it, old)) else {
            return Ok(Swap::Gone);
        };
        rename()?;
        let new = Arc::new(new);
        let mut sealed = view.sealed.clone();
        sealed[place] = Arc::clone(&new);
        shared.store(View { sealed, active: Arc::clone(&view.active) });
        Ok(Swap::Done(new))
    }

    /// Puts segments in the place of old ones, all at once, as far as those are still there; says
    /// how many.
    pub(crate) fn swap_all(&self, pairs: &[(Arc<Sealed>, Arc<Sealed>)]) -> u64 {
        let mut swapped = 0;
        self.shared().change(|view| {
            let mut sealed = view.sealed.clone();
            for place in &mut sealed {
                let found = pairs.binary_search_by_key(&place.base, |(old, _)| old.base);
                let pair = found.ok().map(|at| &pairs[at]);
                if let Some((_, new)) = pair.filter(|(old, _)| Arc::ptr_eq(old, place)) {
                    *place = Arc::clone(new);
                    swapped += 1;
                }
            }
            View { sealed, active: Arc::clone(&view.active) }
        });
        swapped
    }

    /// Has the segment that holds `at` sealed by the next append, should it still grow.
    pub fn want_seal(&self, at: Offset) {
        let base = self.view().active.base;
        if base <= at {
            self.shared().to_seal.store(base.get(), Ordering::Release);
        }
    }

    /// Segments that end at or below were sealed as of a durable checkpoint.
    pub(crate) fn settled(&self) -> Offset {
        Offset::new(self.shared().settled.load(Ordering::Acquire))
    }
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, view: View) -> Self {
        let settled = AtomicU64::new(view.active.base.get());
        let shared = Self {
            dir,
            view: ArcSwap::from_pointee(view),
            size_bytes: AtomicU64::new(0),
            changing: Mutex::new(()),
            settled,
            to_seal: AtomicU64::new(u64::MAX),
        };
        shared.recount();
        shared
    }

    /// Replaces the set of segments by what is made of it.
    pub(crate) fn change(&self, change: impl FnOnce(&View) -> View) {
        let _guard = self.lock();
        let view = change(&self.view.load());
        self.store(view);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, view: View) {
        self.view.store(Arc::new(view));
        self.recount();
    }

    /// A checkpoint that ends in the segment with this base is durable.
    pub(crate) fn settle(&self, active: Offset) {
        self.settled.fetch_max(active.get(), Ordering::AcqRel);
    }

    /// Whether the segment that begins at `base` is to be sealed.
    pub(crate) fn is_to_be_sealed(&self, base: Offset) -> bool {
        self.to_seal.load(Ordering::Acquire) == base.get()
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
