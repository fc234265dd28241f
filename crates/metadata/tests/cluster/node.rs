//! Nodes in one process, each with its own directory, journal and sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{Config, Consensus, Group, StateMachine};
use quipu_disk::{Disk, real};
use quipu_journal::Journal;
use quipu_kv::Store;
use quipu_metadata::bootstrap::{Bootstrap, Settings};
use quipu_metadata::{Addresses, BootstrapError, Identity, Metadata, MetadataStateMachine};
use quipu_runtime::{Clock, Deadline, Fatal, OnExit, TaskGroup};
use quipu_types::{NodeId, ReplicaId, ShardId};
use tokio::net::TcpListener;

/// A running node.
pub(crate) struct Node {
    pub(crate) metadata: Metadata,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) clock: Clock,
    journal: Journal,
    tasks: TaskGroup,
}

/// The places where nodes live: directories and addresses outlive the processes.
pub(crate) struct Site {
    dirs: Vec<tempfile::TempDir>,
    addresses: Vec<String>,
    listed: usize,
}

impl Site {
    /// Room for `nodes`, of which the first `listed` are in everybody's bootstrap list.
    pub(crate) async fn new(nodes: usize, listed: usize) -> Self {
        let mut addresses = Vec::new();
        let mut held = Vec::new();
        for _ in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            held.push(listener);
        }
        let dirs = (0..nodes).map(|_| tempfile::tempdir().unwrap()).collect();
        Self { dirs, addresses, listed }
    }

    /// Replaces a node's disk by an empty one.
    pub(crate) fn wipe(&mut self, node: usize) {
        self.dirs[node - 1] = tempfile::tempdir().unwrap();
    }

    fn settings(&self, node: usize) -> Settings {
        let bootstrap =
            (1..).map(NodeId::new).zip(self.addresses.iter().take(self.listed).cloned()).collect();
        Settings {
            bootstrap,
            shards_per_node: 2,
            rebalance_after: Duration::ZERO,
            address_client: format!("client-{node}:9192"),
            address_peer: self.addresses[node - 1].clone(),
            rack: String::new(),
            version: "test".to_owned(),
        }
    }

    /// Starts a node; resolves once it is registered.
    pub(crate) async fn start(&self, node: usize) -> Result<Node, BootstrapError> {
        let parts = Parts::open(self.dirs[node - 1].path(), node, self).await;
        let Parts { bootstrap, consensus, clock, journal, tasks } = parts;
        match bootstrap.run(|_| {}).await {
            Ok(metadata) => Ok(Node { metadata, consensus, clock, journal, tasks }),
            Err(error) => {
                consensus.shutdown().await;
                tasks.stop(Duration::from_secs(5)).await;
                Err(error)
            }
        }
    }

    /// Starts nodes at the same time.
    pub(crate) async fn start_all(&self, nodes: &[usize]) -> Vec<Node> {
        let starts = nodes.iter().map(|node| self.start(*node));
        let started = tokio::time::timeout(Duration::from_secs(60), futures_join(starts)).await;
        started.expect("nodes start in time").into_iter().map(Result::unwrap).collect()
    }
}

async fn futures_join<T>(starts: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut starts: Vec<_> = starts.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = starts.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (start, done) in starts.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = start.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

struct Parts {
    bootstrap: Bootstrap,
    consensus: Arc<Consensus>,
    clock: Clock,
    journal: Journal,
    tasks: TaskGroup,
}

impl Parts {
    async fn open(dir: &Path, node: usize, site: &Site) -> Self {
        let (fatal, _) = Fatal::new();
        let tasks = TaskGroup::root(&format!("node-{node}"), fatal.clone());
        let clock = Clock::system();
        let disk: Arc<dyn Disk> = real();
        let id = NodeId::new(u64::try_from(node).unwrap());
        let identity = Identity::open(Arc::clone(&disk), dir, id, None).unwrap();
        let on_fatal = fatal.clone();
        let config =
            quipu_journal::Config { file_bytes: 4 << 20, ..quipu_journal::Config::default() };
        let on_fatal = Arc::new(move |reason| on_fatal.stop_node(reason));
        let (journal, _) = Journal::open(disk, dir.join("journal"), config, on_fatal).unwrap();
        let (machine, images) =
            MetadataStateMachine::open(Store::open(&dir.join("meta")).unwrap()).unwrap();
        let settings = site.settings(node);
        let addresses = Arc::new(Addresses::new(&settings.bootstrap, images.clone()));
        let peer = identity.peer_identity();
        let consensus = Consensus::new(Config::default(), peer, addresses, clock.clone(), &tasks);
        let listener = TcpListener::bind(&site.addresses[node - 1]).await.unwrap();
        let serving = quipu_consensus::peer_server()
            .add_service(consensus.peer_service())
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tasks.spawn("peers", OnExit::StopNode, async move { serving.await.unwrap() });
        let bootstrap = Bootstrap {
            identity,
            consensus: Arc::clone(&consensus),
            journal: journal.group(ShardId::METADATA),
            machine,
            images,
            clock: clock.clone(),
            tasks: tasks.clone(),
            settings,
        };
        Self { bootstrap, consensus, clock, journal, tasks }
    }
}

impl Node {
    /// A moment from now.
    pub(crate) fn deadline(&self, seconds: u64) -> Deadline {
        Deadline::after(&self.clock, Duration::from_secs(seconds))
    }

    /// Makes the metadata durable beyond the journal.
    pub(crate) async fn checkpoint(&self) {
        self.consensus.group(ShardId::METADATA).unwrap().checkpoint().await.unwrap();
    }

    /// Opens a replica of another shard.
    pub(crate) async fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        machine: Box<dyn StateMachine>,
    ) -> Group {
        let journal = self.journal.group(shard);
        self.consensus.open_group(shard, replica, journal, machine).await.unwrap()
    }

    /// Ends the node in order; its directory can be opened again afterwards.
    pub(crate) async fn stop(self) {
        let Self { metadata, consensus, clock, journal, tasks } = self;
        consensus.shutdown().await;
        assert!(tasks.stop(Duration::from_secs(10)).await, "tasks end");
        drop((metadata, consensus, clock, tasks));
        journal.close().unwrap();
    }
}

/// Waits until `check` gives something; panics with `what` after a long while.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = check() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(40), wait).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
