//! Nodes in one process, each with its own directory, journal and sockets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{AddressBook, Config, Consensus, PeerIdentity};
use quipu_journal::Journal;
use quipu_partition::PartitionEnv;
use quipu_runtime::{Clock, Deadline, Fatal, OnExit, TaskGroup};
use quipu_shard::{Shard, ShardEnv};
use quipu_types::{ClusterId, DirectoryId, Incarnation, NodeId, ReplicaId, ShardId, StartHistory};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

const SHARD: ShardId = ShardId::new(5);

struct Book(BTreeMap<NodeId, String>);

impl AddressBook for Book {
    fn address(&self, node: NodeId) -> Option<String> {
        self.0.get(&node).cloned()
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) shard: Shard,
    consensus: Arc<Consensus>,
    journal: Journal,
    tasks: TaskGroup,
    fatal: Fatal,
}

pub(crate) struct Cluster {
    pub(crate) clock: Clock,
    dirs: Vec<tempfile::TempDir>,
    book: Arc<Book>,
    nodes: Vec<Option<Node>>,
    starts: u64,
}

/// Waits until `check` gives something; panics with `what` after a long while.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = check() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

fn node_id(place: usize) -> NodeId {
    NodeId::new(u64::try_from(place).expect("small") + 1)
}

fn replica_id(place: usize) -> ReplicaId {
    ReplicaId::new(u64::try_from(place).expect("small") + 11)
}

impl Cluster {
    pub(crate) async fn start(size: usize) -> Self {
        let mut book = BTreeMap::new();
        let mut listeners = Vec::new();
        for place in 0..size {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            book.insert(node_id(place), listener.local_addr().expect("bound").to_string());
            listeners.push(listener);
        }
        let mut own = Self {
            clock: Clock::system(),
            dirs: (0..size).map(|_| tempfile::tempdir().expect("a directory")).collect(),
            book: Arc::new(Book(book)),
            nodes: Vec::new(),
            starts: 0,
        };
        for (place, listener) in listeners.into_iter().enumerate() {
            let node = own.start_node(place, listener).await;
            own.nodes.push(Some(node));
        }
        let members = (0..size).map(|place| (replica_id(place), node_id(place))).collect();
        let first = own.nodes[0].as_ref().expect("started");
        first.shard.group().initialize(members).await.expect("formed");
        own
    }

    async fn start_node(&mut self, place: usize, listener: TcpListener) -> Node {
        self.starts += 1;
        let dir = self.dirs[place].path();
        let (fatal, _) = Fatal::new();
        let tasks = TaskGroup::root(&format!("node-{}", node_id(place)), fatal.clone());
        let disk = quipu_disk::real();
        let on_fatal = fatal.clone();
        let (journal, _) = Journal::open(
            Arc::clone(&disk),
            dir.join("journal"),
            quipu_journal::Config { file_bytes: 8 << 20, ..quipu_journal::Config::default() },
            Arc::new(move |reason| on_fatal.stop_node(reason)),
        )
        .expect("the journal opens");
        let identity = PeerIdentity {
            cluster: ClusterId::from_bytes([1; 16]),
            node: node_id(place),
            directory: DirectoryId::from_bytes([u8::try_from(place).expect("small"); 16]),
            incarnation: Incarnation::new(self.starts),
            starts: StartHistory::default(),
        };
        // Little is kept behind a checkpoint, so that a lagging node needs a snapshot.
        let config = Config { entries_kept: 16, bytes_kept: 0, ..Config::default() };
        let book: Arc<dyn AddressBook> = Arc::clone(&self.book) as Arc<dyn AddressBook>;
        let consensus = Consensus::new(config, identity, book, self.clock.clone(), &tasks);
        let server = quipu_consensus::peer_server()
            .add_service(consensus.peer_service())
            .serve_with_incoming(TcpListenerStream::new(listener));
        tasks.spawn("peer-listener", OnExit::Log, async move { drop(server.await) });
        let env = self.env(dir, &journal, &consensus, &tasks);
        let shard = Shard::open(env, SHARD, replica_id(place)).await.expect("the shard opens");
        Node { id: node_id(place), shard, consensus, journal, tasks, fatal }
    }

    fn env(
        &self,
        dir: &Path,
        journal: &Journal,
        consensus: &Arc<Consensus>,
        tasks: &TaskGroup,
    ) -> ShardEnv {
        ShardEnv {
            consensus: Arc::clone(consensus),
            journal: journal.group(SHARD),
            kv: quipu_kv::Store::open(&dir.join("meta")).expect("the tables open"),
            partitions: PartitionEnv {
                disk: quipu_disk::real(),
                root_dir: dir.join("partitions"),
                segment: quipu_segment::Config::default(),
            },
            snapshot_dir: dir.join("snapshots"),
            clock: self.clock.clone(),
            tasks: tasks.clone(),
        }
    }

    pub(crate) fn deadline(&self, wait: Duration) -> Deadline {
        Deadline::after(&self.clock, wait)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Waits for a leader that is ready.
    pub(crate) async fn leader(&self) -> Shard {
        eventually("a leader", || {
            self.running().map(|node| &node.shard).find(|shard| shard.is_ready_leader()).cloned()
        })
        .await
    }

    pub(crate) async fn leader_node(&self) -> NodeId {
        eventually("a leader", || {
            self.running().find(|node| node.shard.is_ready_leader()).map(|node| node.id)
        })
        .await
    }

    /// Ends a node without a checkpoint; says where it was.
    pub(crate) async fn kill(&mut self, id: NodeId) -> usize {
        let is_it = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.id == id);
        let place = self.nodes.iter().position(is_it).expect("it runs");
        let node = self.nodes[place].take().expect("it runs");
        node.end().await;
        place
    }

    pub(crate) async fn restart(&mut self, place: usize) {
        if let Some(node) = self.nodes[place].take() {
            node.end().await;
        }
        let address = self.book.0[&node_id(place)].clone();
        let listener = TcpListener::bind(address).await.expect("the port is free again");
        let node = self.start_node(place, listener).await;
        self.nodes[place] = Some(node);
    }

    pub(crate) async fn stop(mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.end().await;
        }
    }
}

impl Node {
    async fn end(self) {
        let Self { shard, consensus, journal, tasks, fatal, .. } = self;
        shard.stop();
        drop(shard);
        consensus.shutdown().await;
        drop(consensus);
        assert!(tasks.stop(Duration::from_secs(20)).await, "tasks are left");
        journal.close().expect("the journal closes");
        assert_eq!(fatal.reason(), None);
    }
}
