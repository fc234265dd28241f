//! What happened, as a hash and, if asked for, as text.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// FNV-1a.
const HASH_START: u64 = 0xCBF2_9CE4_8422_2325;
const HASH_PRIME: u64 = 0x0000_0100_0000_01B3;

/// Everything a run did, in order. Clones share it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Nobody listens when there is none.
    inner: Option<Arc<Mutex<Inner>>>,
}

#[derive(Debug)]
struct Inner {
    hash: u64,
    events: u64,
    buffer: String,
    text: Option<String>,
}

impl Trace {
    /// A trace that keeps nothing: for many seeds, where only a failure counts.
    #[must_use]
    pub const fn silent() -> Self {
        Self { inner: None }
    }

    /// A trace that keeps its hash only.
    #[must_use]
    pub fn hashed() -> Self {
        Self::with(None)
    }

    /// A trace that keeps its text too.
    #[must_use]
    pub fn readable() -> Self {
        Self::with(Some(String::new()))
    }

    fn with(text: Option<String>) -> Self {
        let inner = Inner { hash: HASH_START, events: 0, buffer: String::new(), text };
        Self { inner: Some(Arc::new(Mutex::new(inner))) }
    }

    /// Whether nobody listens: what costs something to say need not be said.
    pub(crate) const fn is_silent(&self) -> bool {
        self.inner.is_none()
    }

    /// Adds an event.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        if let Some(mut inner) = self.lock() {
            inner.note(event);
        }
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().map_or(HASH_START, |inner| inner.hash)
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.lock().map_or(0, |inner| inner.events)
    }

    /// The text of all events, one a line; empty if it was not kept.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().and_then(|inner| inner.text.clone()).unwrap_or_default()
    }

    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.inner.as_ref()?;
        Some(inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn note(&mut self, event: fmt::Arguments<'_>) {
        self.buffer.clear();
        fmt::Write::write_fmt(&mut self.buffer, event).expect("a string takes everything");
        self.buffer.push('\n');
        for byte in self.buffer.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(HASH_PRIME);
        }
        self.events += 1;
        if let Some(text) = &mut self.text {
            text.push_str(&self.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_each_event_and_their_order_and_not_on_the_text() {
        let hash_of = |trace: Trace, events: &[u64]| {
            events.iter().for_each(|event| trace.note(format_args!("event {event}")));
            (trace.hash(), trace.events())
        };
        let one = hash_of(Trace::hashed(), &[1, 2]);
        assert_eq!(one, hash_of(Trace::readable(), &[1, 2]));
        assert_ne!(one, hash_of(Trace::hashed(), &[2, 1]));
        assert_ne!(one, hash_of(Trace::hashed(), &[12]));
        let readable = Trace::readable();
        readable.note(format_args!("event {}", 7));
        assert_eq!(readable.text(), "event 7\n");
        let silent = Trace::silent();
        silent.note(format_args!("event {}", 7));
        assert_eq!((silent.events(), silent.text().as_str()), (0, ""));
    }
}
