//! One node on loopback: its own runtime, journal and directory, so that dropping it is a death.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use quipu_consensus::{
    AddressBook, Config, Consensus, Group, OpenGroupError, PeerIdentity, peer_incoming, peer_server,
};
use quipu_disk::Disk;
use quipu_journal::Journal;
use quipu_runtime::{Clock, Fatal, FatalReceiver, OnExit, TaskGroup};
use quipu_types::{ClusterId, DirectoryId, Incarnation, NodeId, ReplicaId, ShardId, StartHistory};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::ledger::{Applied, Ledger};

/// Addresses that the test hands out.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<BTreeMap<NodeId, SocketAddr>>);

impl Addresses {
    pub(crate) fn set(&self, node: NodeId, address: SocketAddr) {
        self.0.lock().unwrap().insert(node, address);
    }

    fn get(&self, node: NodeId) -> Option<SocketAddr> {
        self.0.lock().unwrap().get(&node).copied()
    }
}

impl AddressBook for Addresses {
    fn address(&self, node: NodeId) -> Option<String> {
        self.get(node).map(|address| address.to_string())
    }
}

/// What a node is started with; outlives it.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) directory: PathBuf,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
}

/// Threads of a node.
const WORKERS: usize = 2;

/// Holds a node still.
pub(crate) struct Pause(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Pause {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }
}

/// A running node.
pub(crate) struct Node {
    plan: Plan,
    runtime: Option<Runtime>,
    journal: Option<Journal>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) fatal: FatalReceiver,
    ledgers: Mutex<BTreeMap<ShardId, Applied>>,
}

impl Node {
    pub(crate) async fn start(plan: Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .unwrap();
        let (fatal, receiver) = Fatal::new();
        let on_fatal = {
            let fatal = fatal.clone();
            Arc::new(move |reason: String| fatal.stop_node(reason))
        };
        let config = quipu_journal::Config { file_bytes: 1 << 20, ..<_>::default() };
        let directory = plan.directory.join("journal");
        let journal = Journal::open(Arc::clone(&plan.disk), directory, config, on_fatal);
        let journal = journal.unwrap().0;
        let identity = PeerIdentity {
            cluster: plan.cluster,
            node: plan.node,
            directory: DirectoryId::from_bytes([7; 16]),
            incarnation: Incarnation::new(1),
            starts: StartHistory::default(),
        };
        let own = plan.clone();
        let started = runtime.spawn(async move {
            let tasks = TaskGroup::root("node", fatal);
            let clock = Clock::system();
            let addresses = Arc::clone(&own.addresses);
            let consensus = Consensus::new(own.config, identity, addresses, clock, &tasks);
            let known = own.addresses.get(own.node);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = TcpListener::bind(known.unwrap_or(any)).await.unwrap();
            own.addresses.set(own.node, listener.local_addr().unwrap());
            let served = peer_server()
                .add_service(consensus.peer_service())
                .serve_with_incoming(peer_incoming(listener));
            tasks.spawn("listener", OnExit::Log, async move { served.await.unwrap() });
            consensus
        });
        let consensus = started.await.unwrap();
        Self {
            plan,
            runtime: Some(runtime),
            journal: Some(journal),
            consensus,
            fatal: receiver,
            ledgers: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.plan.node
    }

    /// Opens a replica; replica ids are those of the nodes.
    pub(crate) async fn open(&self, shard: ShardId) -> Result<Group, OpenGroupError> {
        let file = self.plan.directory.join(format!("checkpoint-{shard}"));
        let (ledger, applied) = Ledger::open(file);
        self.ledgers.lock().unwrap().insert(shard, applied);
        let journal = self.journal.as_ref().unwrap().group(shard);
        let replica = ReplicaId::new(self.plan.node.get());
        let consensus = Arc::clone(&self.consensus);
        let opened = self.runtime.as_ref().unwrap().spawn(async move {
            consensus.open_group(shard, replica, journal, Box::new(ledger)).await
        });
        opened.await.unwrap()
    }

    pub(crate) fn group(&self, shard: ShardId) -> Group {
        self.consensus.group(shard).unwrap()
    }

    /// What the shard's state machine here holds.
    pub(crate) fn commands(&self, shard: ShardId) -> Vec<bytes::Bytes> {
        self.ledgers.lock().unwrap()[&shard].lock().unwrap().clone()
    }

    /// Stops all threads of the node, as SIGSTOP would: sockets stay open. Resumes when the guard
    /// is dropped.
    pub(crate) async fn pause(&self) -> Pause {
        let held = Arc::new((Mutex::new(true), Condvar::new()));
        let runtime = self.runtime.as_ref().unwrap();
        let arrived = Arc::new(AtomicUsize::new(0));
        for _ in 0..WORKERS {
            let (held, arrived) = (Arc::clone(&held), Arc::clone(&arrived));
            drop(runtime.spawn(async move {
                arrived.fetch_add(1, Ordering::SeqCst);
                let (is_held, resumed) = &*held;
                drop(resumed.wait_while(is_held.lock().unwrap(), |held| *held).unwrap());
            }));
        }
        crate::cluster::until("the pause", || {
            (arrived.load(Ordering::SeqCst) == WORKERS).then_some(())
        })
        .await;
        Pause(held)
    }

    /// Dies without a word, like a killed process: sockets close, nothing is flushed on purpose.
    pub(crate) fn kill(mut self) -> Plan {
        self.die();
        self.plan.clone()
    }

    fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Some(journal) = self.journal.take() {
            drop(journal.close());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.die();
    }
}
