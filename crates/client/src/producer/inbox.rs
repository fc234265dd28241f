//! What callers and the sender share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::buffer::{Buffer, Joining};
use super::delivery::{Awaited, Delivery, verdict};
use super::topic::TopicState;
use crate::cluster_view::Topic;
use crate::{Error, Result};

/// The door between callers and the sender. Locks are held for a moment only.
#[derive(Debug)]
pub(crate) struct Inbox {
    begun: Instant,
    /// Bytes that are free in the buffer.
    room: Semaphore,
    next_batch: AtomicU64,
    topics: Mutex<HashMap<Arc<str>, Arc<TopicState>>>,
    /// Batches that are not settled, for flush.
    outstanding: Mutex<BTreeMap<u64, Awaited>>,
    /// Buffers the sender has to look at.
    announced: Mutex<Vec<Arc<Buffer>>>,
    wake: Notify,
    /// Batches below this number do not linger.
    flush_below: AtomicU64,
    is_closed: AtomicBool,
    /// Deliver nothing more: the deadline of close has passed.
    given_up: Mutex<Option<Duration>>,
    last_error: Mutex<Option<Error>>,
}

impl Inbox {
    pub(crate) fn new(buffer_bytes: usize) -> Self {
        Self {
            begun: Instant::now(),
            room: Semaphore::new(buffer_bytes),
            next_batch: AtomicU64::new(0),
            topics: Mutex::default(),
            outstanding: Mutex::default(),
            announced: Mutex::default(),
            wake: Notify::new(),
            flush_below: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            given_up: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    /// Time since the producer was made: what its deadlines count in.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The moment of a time of [`Self::now`].
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.begun + at
    }

    // --- callers ---

    pub(crate) fn try_reserve(&self, bytes: usize) -> bool {
        match self.room.try_acquire_many(permits(bytes)) {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) async fn reserve(&self, bytes: usize) -> Result<()> {
        let permit = self.room.acquire_many(permits(bytes)).await.map_err(|_| Error::Closed)?;
        permit.forget();
        Ok(())
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// The state of a topic, made or renewed as `known` says.
    pub(crate) fn topic(&self, known: Arc<Topic>, service: &str) -> Arc<TopicState> {
        let mut topics = lock(&self.topics);
        let name = known.name.clone();
        let next = match topics.get(&name) {
            Some(state) if Arc::ptr_eq(state.known(), &known) => return state.clone(),
            Some(state) if state.known().id == known.id => state.renewed(known),
            Some(_) | None => TopicState::new(known, service),
        };
        let next = Arc::new(next);
        topics.insert(name, next.clone());
        next
    }

    /// Adds a record, and wakes the sender where it matters.
    pub(crate) fn join(&self, buffer: &Arc<Buffer>, joining: &Joining<'_>) -> Result<Delivery> {
        let joined = buffer.join(joining, |awaited| {
            let mut outstanding = lock(&self.outstanding);
            // Under the lock: the sender ends once it saw "closed" and then nothing outstanding.
            if self.is_closed() {
                return Err(Error::Closed);
            }
            let id = self.next_batch.fetch_add(1, Ordering::Relaxed);
            outstanding.insert(id, awaited);
            Ok(id)
        })?;
        if joined.announce {
            lock(&self.announced).push(buffer.clone());
            self.wake.notify_one();
        }
        Ok(joined.delivery)
    }

    /// Waits for every batch there is.
    pub(crate) async fn flush(&self) -> Result<()> {
        let open: Vec<Awaited> = {
            let outstanding = lock(&self.outstanding);
            let below = self.next_batch.load(Ordering::Relaxed);
            self.flush_below.fetch_max(below, Ordering::AcqRel);
            outstanding.values().cloned().collect()
        };
        self.wake.notify_one();
        let mut first = Ok(());
        for awaited in open {
            let told = verdict(awaited).await.map(|_| ());
            first = first.and(told);
        }
        first
    }

    /// Takes no more records.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.room.close();
        self.wake.notify_one();
    }

    /// Gives up what was not delivered within `deadline`.
    pub(crate) fn give_up(&self, deadline: Duration) {
        *lock(&self.given_up) = Some(deadline);
        self.wake.notify_one();
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        lock(&self.last_error).clone()
    }

    // --- the sender ---

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take_announced(&self) -> Vec<Arc<Buffer>> {
        std::mem::take(&mut lock(&self.announced))
    }

    pub(crate) fn flush_below(&self) -> u64 {
        self.flush_below.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn given_up(&self) -> Option<Duration> {
        *lock(&self.given_up)
    }

    /// Nothing is open any more.
    pub(crate) fn is_settled(&self) -> bool {
        lock(&self.outstanding).is_empty()
    }

    /// A batch is settled: its room is free again.
    pub(crate) fn settled(&self, batch: u64, reserved: usize) {
        lock(&self.outstanding).remove(&batch);
        self.release(reserved);
    }

    pub(crate) fn note_error(&self, error: &Error) {
        *lock(&self.last_error) = Some(error.clone());
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("bounded by the size of an event")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}
