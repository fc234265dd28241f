//! What happens to packets on their way from a node to the others: the kernel hands them to a
//! thread of the suite (`NFQUEUE`), which lets each go on when it is due, changed or not.
//!
//! `--queue-bypass` lets packets pass when nobody asks for them: a suite that died heals the wire.

mod queue;
mod segment;
mod treatment;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use quipu_runtime::{Clock, Rng};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use queue::Queue;
pub(crate) use treatment::Treatment;

/// How long the thread waits when it holds nothing, before it looks whether it is to stop.
const IDLE: Duration = Duration::from_millis(50);

/// A thread that treats the packets of one node until it is dropped.
#[derive(Debug)]
pub(crate) struct Packets {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Packets that were held back or changed.
    treated: AtomicU64,
}

/// A packet that waits.
#[derive(Debug)]
struct Held {
    due: Instant,
    id: u32,
    changed: Option<Vec<u8>>,
}

impl Packets {
    /// Takes over a queue of the network namespace `space`; resolves once the kernel knows.
    pub(crate) fn treat(space: &Path, treatment: Treatment, rng: Rng) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let (of_thread, space) = (shared.clone(), space.to_owned());
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            let queue = enter(&space).and_then(|()| Queue::open());
            let (queue, told) = match queue {
                Ok(queue) => (Some(queue), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _ = ready.send(told);
            queue.map_or(Ok(()), |queue| Worker { queue, treatment, rng }.run(&of_thread))
        };
        let thread = std::thread::Builder::new().name("packets".to_owned()).spawn(work)?;
        is_ready.recv().context("the thread for packets ended")??;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Packets that were held back or changed so far.
    pub(crate) fn treated(&self) -> u64 {
        self.shared.treated.load(Ordering::Relaxed)
    }

    /// Lets go what is held, and ends.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_panic| anyhow!("the thread for packets panicked"))?
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Moves this thread, and no other, into a network.
fn enter(space: &Path) -> Result<()> {
    let space = File::open(space).with_context(|| space.display().to_string())?;
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter a network")
}

struct Worker {
    queue: Queue,
    treatment: Treatment,
    rng: Rng,
}

impl Worker {
    fn run(mut self, shared: &Shared) -> Result<()> {
        let mut held: Vec<Held> = Vec::new();
        let mut last = Clock::thread_instant();
        while !shared.stop.load(Ordering::Relaxed) {
            let now = Clock::thread_instant();
            let next = held.iter().map(|held| held.due.saturating_duration_since(now)).min();
            for packet in self.queue.wait(next.unwrap_or(IDLE).min(IDLE))? {
                let now = Clock::thread_instant();
                let fate = self.treatment.decide(&mut self.rng, now, last);
                let mut bytes = packet.bytes;
                let is_changed = fate.is_spoiled && segment::spoil(&mut bytes, &mut self.rng);
                if fate.due > now || is_changed {
                    shared.treated.fetch_add(1, Ordering::Relaxed);
                }
                last = last.max(fate.due);
                held.push(Held {
                    due: fate.due,
                    id: packet.id,
                    changed: is_changed.then_some(bytes),
                });
            }
            let now = Clock::thread_instant();
            self.let_go(&mut held, now)?;
        }
        let end = last;
        self.let_go(&mut held, end)
    }

    /// Lets go what is due, the longest due first.
    fn let_go(&mut self, held: &mut Vec<Held>, now: Instant) -> Result<()> {
        held.sort_by_key(|held| held.due);
        let count = held.partition_point(|held| held.due <= now);
        held.drain(..count).try_for_each(|held| self.queue.accept(held.id, held.changed.as_deref()))
    }
}

#[cfg(test)]
mod tests;
