//! Takes down a history from many tasks at once.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use quipu_runtime::Clock;

use super::{Call, Effect, Event, Failure, Line, Outcome, Start, Writer};

/// Lines on their way to the file. Full means that the disk is slower than the load: callers
/// wait, since a history with holes proves nothing.
const QUEUE_LINES: usize = 65_536;

/// Takes down a history; clones write to the same file.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    // One lock around reading the clock and queueing, so that time never goes back in the file.
    queue: Mutex<SyncSender<Line>>,
    calls: AtomicU64,
    processes: AtomicU64,
}

/// The file being written. It is complete once every recorder and session is gone.
#[derive(Debug)]
pub struct Recording {
    writer: JoinHandle<io::Result<u64>>,
}

/// One client session: a process of the history. Make a new one after a crash of the client.
#[derive(Clone, Debug)]
pub struct Session {
    recorder: Recorder,
    process: u64,
    node: Option<u64>,
}

impl Recorder {
    /// Begins a history in a new file.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn create(path: &Path, start: Start) -> io::Result<(Self, Recording)> {
        let writer = Writer::new(BufWriter::new(File::create_new(path)?), start)?;
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let writer = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || drain(writer, &lines))?;
        let shared = Shared {
            clock: Clock::system(),
            queue: Mutex::new(queue),
            calls: AtomicU64::new(0),
            processes: AtomicU64::new(0),
        };
        Ok((Self { shared: Arc::new(shared) }, Recording { writer }))
    }

    /// A new client session, pinned to a node if one is named.
    #[must_use]
    pub fn session(&self, node: Option<u64>) -> Session {
        let process = self.shared.processes.fetch_add(1, Ordering::Relaxed) + 1;
        Session { recorder: self.clone(), process, node }
    }

    /// Notes what the harness did or saw, at a node if one is meant.
    pub fn observe(&self, node: Option<u64>, event: Event) {
        self.note(0, node, event);
    }

    fn note(&self, process: u64, node: Option<u64>, event: Event) {
        let queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let at = u64::try_from(self.shared.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        // A writer that failed has closed the queue; its error is told by `Recording::finish`.
        let _closed = queue.send(Line { at, process, node, event });
    }
}

impl Session {
    /// The number of the process.
    #[must_use]
    pub const fn process(&self) -> u64 {
        self.process
    }

    /// The same session, asking another node.
    #[must_use]
    pub fn at(&self, node: u64) -> Self {
        Self { node: Some(node), ..self.clone() }
    }

    /// Notes that a call begins; to be called before it is sent. Gives its id.
    #[must_use]
    pub fn invoke(&self, call: Call) -> u64 {
        let id = self.recorder.shared.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.observe(Event::Invoke { id, call });
        id
    }

    /// Notes that a call ended well.
    pub fn ok(&self, id: u64, outcome: Outcome) {
        self.observe(Event::Ok { id, outcome });
    }

    /// Notes that a call ended with an error, by its effect.
    pub fn failed(&self, id: u64, error: Failure) {
        self.observe(match error.effect {
            Effect::None => Event::Fail { id, error },
            Effect::Maybe => Event::Info { id, error },
        });
    }

    /// Notes what happened to this session beside its calls, for example a rebalance.
    pub fn observe(&self, event: Event) {
        self.recorder.note(self.process, self.node, event);
    }
}

impl Recording {
    /// Waits until every recorder and session is gone and the file is complete; gives the
    /// number of lines.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(self) -> io::Result<u64> {
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the history's writer died")))
    }
}

fn drain(mut writer: Writer<BufWriter<File>>, lines: &Receiver<Line>) -> io::Result<u64> {
    for line in lines {
        writer.write(&line)?;
    }
    writer.finish().map(|(lines, _)| lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Reader;

    #[test]
    fn many_threads_write_one_history_whose_time_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        let (recorder, recording) = Recorder::create(&path, Start::named("threads")).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|node| {
                let session = recorder.session(Some(node));
                std::thread::spawn(move || {
                    for round in 0..500 {
                        let id = session.invoke(Call::InitProducer {});
                        if round % 2 == 0 {
                            session.ok(id, Outcome::Producer { id, epoch: 0 });
                        } else {
                            session.failed(id, Failure::new("TIMED_OUT", Effect::Maybe));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(recorder);
        assert_eq!(recording.finish().unwrap(), 4 * 500 * 2 + 1);

        let lines: Vec<Line> = Reader::open(&path).unwrap().map(|line| line.unwrap().1).collect();
        assert_eq!(lines.len(), 4 * 500 * 2 + 1);
        let mut open = std::collections::BTreeSet::new();
        for line in &lines {
            match &line.event {
                Event::Invoke { id, .. } => assert!(open.insert((line.process, *id))),
                Event::Ok { id, .. } | Event::Info { id, .. } => {
                    assert!(open.remove(&(line.process, *id)));
                }
                _ => assert_eq!(line.process, 0),
            }
        }
        assert!(open.is_empty());
    }
}
