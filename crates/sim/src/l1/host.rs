//! A machine: its disk, and the processes that live on it one after another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_disk::Faults;
use quipu_runtime::Rng;
use quipu_types::{NodeId, ShardId};
use tokio::sync::Notify;

use super::census::Event;
use super::durable::Durable;
use super::ground::Ground;
use super::life::Life;
use super::pace::Pace;
use super::plan::start_faults;
use super::plant::Plant;
use super::process::{Hosted, Process};
use crate::node::{End, Leaving, Node, Remains};
use crate::stop::{Step, Stop};

/// Longest pause before a restart.
const RESTART_MS: u64 = 4_000;

/// One machine. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Host {
    id: NodeId,
    ground: Ground,
    state: Arc<Mutex<State>>,
    pub(crate) pace: Pace,
    durable: Arc<Mutex<Durable>>,
    /// A restart need not wait any longer.
    hurry: Arc<Notify>,
}

struct State {
    rng: Rng,
    remains: Remains,
    process: Option<Arc<Process>>,
    lives: u64,
    /// No more faults.
    is_calm: bool,
}

impl Host {
    pub(crate) fn new(id: NodeId, ground: Ground, mut rng: Rng) -> Self {
        let pace = Pace::new(Rng::seeded(rng.next_u64()));
        let remains = Remains::new(rng.next_u64());
        let state = State { rng, remains, process: None, lives: 0, is_calm: true };
        let state = Arc::new(Mutex::new(state));
        Self { id, ground, state, pace, durable: Arc::default(), hurry: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.id
    }

    /// The replica of a shard here, while it runs.
    pub(crate) fn hosted(&self, shard: ShardId) -> Option<Hosted> {
        self.process().and_then(|process| process.hosted(shard))
    }

    /// The process, while one runs.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        self.state().process.clone()
    }

    /// Keeps a process running, for ever: whatever ends it, another one begins.
    pub(crate) async fn keep_running(self) {
        loop {
            match self.boot() {
                Ok(process) => self.live(&process).await,
                Err(stop) => self.take_stop(&stop),
            }
            let hurry = self.hurry.notified();
            let _ = tokio::time::timeout(self.restart_pause(), hurry).await;
        }
    }

    /// Lives through a process: until it is ended, or ends by itself.
    async fn live(&self, process: &Arc<Process>) {
        let opened = process.open(&self.durable).await;
        let stop = match opened {
            Ok(()) => process.ended().await.map(|reason| process.disk().stop(reason)),
            Err(stop) => Some(stop),
        };
        if !process.life().is_over() {
            self.take_stop(&stop.expect("a process ends for a reason, or its life is over"));
        }
    }

    /// A process ended by itself: its disk failed, or the program is wrong.
    fn take_stop(&self, stop: &Stop) {
        match stop {
            Stop::Fault => {
                let event = format_args!("node {} ends: its disk failed", self.id);
                self.ground.scene.count(Event::DiskFailed, event);
                self.crash(End::Kill);
            }
            Stop::Violation(what) => {
                self.ground.scene.violated(format!("node {}: {what}", self.id));
                self.crash(End::Kill);
            }
        }
    }

    fn restart_pause(&self) -> Duration {
        let mut state = self.state();
        let most = if state.is_calm { 50 } else { RESTART_MS };
        // Often at once: before the others have noticed.
        let drawn = if state.rng.below(3) == 0 { 20 } else { most };
        Duration::from_millis(state.rng.below(drawn))
    }

    /// Starts a process on what the last one left.
    fn boot(&self) -> Step<Arc<Process>> {
        let scene = &self.ground.scene;
        let (node, life, seed) = {
            let state = &mut *self.state();
            let faults =
                if state.is_calm { Faults::default() } else { start_faults(&mut state.rng) };
            state.remains.disk.set_faults(faults);
            state.lives += 1;
            let life = Life::begin(self.id, state.lives);
            let number = state.lives;
            scene.note(format_args!("node {} starts its life {number} with {faults:?}", self.id));
            let plant = scene.plant().and_then(Plant::of_the_disk);
            let plan = self.ground.plan.storage;
            let node = Node::open(&state.remains, plan, scene.trace(), plant)?;
            (node, life, state.rng.next_u64())
        };
        let process = Process::begin(&self.ground, node, life, Rng::seeded(seed));
        let process = Arc::new(process);
        self.state().process = Some(Arc::clone(&process));
        self.ground.spawn("flushes", self.clone().flush(Arc::clone(&process)));
        Ok(process)
    }

    /// Has the journal written and flushed, at the disk's pace.
    async fn flush(self, process: Arc<Process>) {
        while process.life().is_going(self.pace.next()).await {
            // Also when nothing that a node cannot do without was refused: no machine runs on.
            let flushed = if process.disk().is_dead() {
                Err(process.disk().stop("the power is gone"))
            } else {
                process.flush(&self.durable)
            };
            if let Err(stop) = flushed {
                process.fail(&stop);
                return;
            }
        }
    }

    /// Ends the process without a word.
    pub(crate) fn crash(&self, end: End) {
        let process = self.state().process.take();
        if let Some(process) = &process {
            process.life().end();
        }
        let end = self.leave(process.as_deref(), end);
        if let Some(process) = process {
            process.count_unfed();
            self.ground.net.leave(process.life(), end == End::PowerCut);
            self.ground.spawn("remains", process.tear_down());
        }
    }

    /// What is on the disk now is all there is.
    fn leave(&self, process: Option<&Process>, end: End) -> End {
        let scene = &self.ground.scene;
        let State { rng, remains, .. } = &mut *self.state();
        let end = if remains.disk.is_dead() { End::PowerCut } else { end };
        let event = if end == End::Kill { Event::Killed } else { Event::PowerCut };
        match process {
            Some(_) => scene.count(event, format_args!("node {} is gone", self.id)),
            None => scene.note(format_args!("node {} loses more, {end:?}", self.id)),
        }
        let tables = process.map_or_else(|| remains.tables.clone(), |process| process.tables());
        let plant = scene.plant().and_then(Plant::of_the_disk);
        remains.left(&tables, end, &mut Leaving { rng, trace: scene.trace(), plant });
        if scene.has(Plant::WipedNodeReturns) && rng.below(3) == 0 {
            *remains = Remains::new(rng.next_u64());
            *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = Durable::default();
        }
        end
    }

    /// Shuts the process down as one should.
    pub(crate) async fn stop(&self) {
        let Some(process) = self.process() else { return };
        process.life().stop();
        process.life().is_going(process.shut_down()).await;
        if !process.life().is_over() {
            self.ground.scene.count(Event::Stopped, format_args!("node {} stopped", self.id));
            if let Err(stop) = process.flush(&self.durable) {
                process.fail(&stop);
                return;
            }
            self.crash(End::Kill);
        }
    }

    /// The disk fails from now on, as planned.
    pub(crate) fn plan_faults(&self, faults: Faults) {
        let event = format_args!("node {} has {faults:?} before it", self.id);
        self.ground.scene.note(event);
        self.state().remains.disk.set_faults(faults);
    }

    /// Whether faults may strike from now on.
    pub(crate) fn set_calm(&self, is_calm: bool) {
        let mut state = self.state();
        state.is_calm = is_calm;
        if is_calm {
            // A power cut that struck already is still to be noticed.
            state.remains.disk.set_faults(Faults::default());
            self.hurry.notify_one();
        }
    }
}
