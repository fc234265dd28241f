//! The network between the nodes, in memory: connections that are slow, stand still, or break.
//!
//! It carries HTTP requests of the peer protocol, so that everything above HTTP/2 is the real
//! thing: hellos, links, frames, sessions, snapshots. As on TCP, what one connection carries stays
//! in order, is delayed as long as a cut lasts, and is lost only together with the connection.

mod call;
mod connection;
mod door;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_consensus::PeerService;
use quipu_runtime::{OnExit, Rng, TaskGroup};
use quipu_types::NodeId;
use tokio::sync::watch;

pub(super) use self::door::Door;

use self::connection::Connection;
use super::census::Event;
use super::life::Life;
use super::scene::Scene;
use crate::commands::one_in;

/// How long a connection that carries nothing stands: HTTP/2's pings, and the wait for them.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// What a frame that is sent again takes longer.
const SPIKE_MS: u64 = 900;

/// How fast the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Between two nodes, at least. Unit: microseconds.
    pub(crate) delay_us: u64,
    /// On top, at most.
    pub(crate) jitter_us: u64,
    /// One frame in so many takes much longer; 0 for none.
    pub(crate) spike_one_in: u64,
}

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Net {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// A cut came or went.
    cuts_changed: watch::Sender<u64>,
    tasks: TaskGroup,
    scene: Scene,
    weather: Weather,
}

struct State {
    rng: Rng,
    listening: BTreeMap<NodeId, (Life, PeerService)>,
    /// Reasons why nothing passes from one node to another.
    cuts: BTreeMap<(NodeId, NodeId), u32>,
    connections: BTreeMap<u64, Connection>,
    made: u64,
}

impl Net {
    pub(crate) fn new(rng: Rng, weather: Weather, scene: Scene, tasks: TaskGroup) -> Self {
        let state = State {
            rng,
            listening: BTreeMap::new(),
            cuts: BTreeMap::new(),
            connections: BTreeMap::new(),
            made: 0,
        };
        let (cuts_changed, _) = watch::channel(0);
        let state = Mutex::new(state);
        Self { shared: Arc::new(Shared { state, cuts_changed, tasks, scene, weather }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(name, OnExit::Log, task);
    }

    /// A process listens for its peers.
    pub(crate) fn listen(&self, life: &Life, service: PeerService) {
        let node = life.node();
        self.state().listening.insert(node, (life.clone(), service));
        // The machine is there again: it knows nothing of connections from before.
        self.break_where(|connection| connection.is_orphan_of(node), "of an earlier life");
    }

    /// A process is gone. Its peers hear of it at once, unless its machine went too.
    pub(crate) fn leave(&self, life: &Life, is_silent: bool) {
        self.state().listening.remove(&life.node());
        let number = life.number();
        let node = life.node();
        if is_silent {
            let own = self.clone();
            self.spawn("silence", async move {
                tokio::time::sleep(SILENCE_MAX).await;
                own.break_where(|connection| connection.ends_in(node, number), "silent");
            });
        } else {
            self.break_where(|connection| connection.ends_in(node, number), "its process ended");
        }
    }

    /// Nothing passes from one node to the other until [`Self::mend`].
    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        *self.state().cuts.entry((from, to)).or_default() += 1;
        self.shared.cuts_changed.send_modify(|version| *version += 1);
        let own = self.clone();
        self.spawn("keepalive", async move {
            let mut changes = own.shared.cuts_changed.subscribe();
            let mended = changes.wait_for(|_| !own.is_cut(from, to));
            if tokio::time::timeout(SILENCE_MAX, mended).await.is_err() {
                own.break_where(|connection| connection.is_between(from, to), "silent");
            }
        });
    }

    /// Takes one reason for a cut away.
    pub(crate) fn mend(&self, from: NodeId, to: NodeId) {
        {
            let mut state = self.state();
            let Some(reasons) = state.cuts.get_mut(&(from, to)) else { return };
            *reasons -= 1;
            if *reasons == 0 {
                state.cuts.remove(&(from, to));
            }
        }
        self.shared.cuts_changed.send_modify(|version| *version += 1);
    }

    /// Breaks every connection between two nodes.
    pub(crate) fn reset(&self, one: NodeId, other: NodeId) {
        self.break_where(|connection| connection.is_between(one, other), "reset");
    }

    fn break_where(&self, is_meant: impl Fn(&Connection) -> bool, why: &str) {
        let mut broken = Vec::new();
        self.state().connections.retain(|_, connection| {
            let stays = !is_meant(connection);
            if !stays {
                broken.push(connection.clone());
            }
            stays
        });
        for connection in broken {
            let event = format_args!("connection {connection} breaks: {why}");
            self.shared.scene.count(Event::Disconnected, event);
            connection.broken.cancel();
        }
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.state().cuts.contains_key(&(from, to))
    }

    /// Waits until something passes from one node to the other.
    async fn passage(&self, from: NodeId, to: NodeId) {
        let mut changes = self.shared.cuts_changed.subscribe();
        // The sender is in `self`.
        let _ = changes.wait_for(|_| !self.is_cut(from, to)).await;
    }

    /// How long the next frame is on its way.
    fn delay(&self) -> Duration {
        let Weather { delay_us, jitter_us, spike_one_in } = self.shared.weather;
        let rng = &mut self.state().rng;
        let spike = if spike_one_in > 0 && one_in(rng, spike_one_in) {
            Duration::from_millis(rng.below(SPIKE_MS))
        } else {
            Duration::ZERO
        };
        Duration::from_micros(delay_us + rng.below(jitter_us + 1)) + spike
    }

    /// Who listens at a node.
    fn listener(&self, node: NodeId) -> Option<(Life, PeerService)> {
        self.state().listening.get(&node).cloned()
    }

    fn open(&self, client: &Life, server: &Life) -> Connection {
        let mut state = self.state();
        state.made += 1;
        let number = state.made;
        let connection = Connection::new(number, client, server);
        state.connections.insert(number, connection.clone());
        connection
    }
}
