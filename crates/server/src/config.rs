//! What an operator sets: file < environment < flags, with the origin of every value.
//!
//! One table ([`setting::SETTINGS`]) names each key with its default, bounds and reason; parsing,
//! errors, `config check` and the reference page all read it.

mod layers;
mod parse;
pub mod setting;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quipu_types::NodeId;

pub use layers::{ConfigError, Layers, Origin, Resolved};

/// The settings of a node, parsed and checked. Made once at start, passed down by value.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.*`
    pub node: NodeConfig,
    /// `cluster.*`
    pub cluster: ClusterConfig,
    /// `listeners.*`
    pub listeners: ListenersConfig,
    /// `journal.*`
    pub journal: JournalConfig,
    /// `storage.*`
    pub storage: StorageConfig,
    /// `raft.*`
    pub raft: RaftConfig,
    /// `limits.*`
    pub limits: LimitsConfig,
    /// `log.*`
    pub log: LogConfig,
}

/// Who this node is.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its number, unique in the cluster for ever.
    pub id: NodeId,
    /// Everything it keeps.
    pub data_dir: PathBuf,
    /// Failure domain.
    pub rack: String,
    /// Worker threads of the runtime.
    pub worker_threads: usize,
}

/// Which cluster it belongs to.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The first nodes, with the addresses their peers dial.
    pub bootstrap: Vec<(NodeId, String)>,
    /// Shard leaders each node is to have.
    pub shards_per_node: u32,
    /// How long the cluster must be at rest before uneven nodes are evened out; zero: never.
    pub rebalance_after: Duration,
}

/// Where it listens.
#[derive(Clone, Debug)]
pub struct ListenersConfig {
    /// Clients (gRPC).
    pub client: SocketAddr,
    /// What clients are told to dial.
    pub client_advertise: String,
    /// Peers (gRPC).
    pub peer: SocketAddr,
    /// What peers are told to dial.
    pub peer_advertise: String,
    /// Metrics and health (HTTP).
    pub metrics: SocketAddr,
}

/// The write-ahead log.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Size of one file.
    pub file_bytes: u64,
    /// Memory for entries that followers may still ask for.
    pub tail_bytes: u64,
    /// `None`: flush before every acknowledgement. `Some`: at most this often (may lose data).
    pub flush_interval: Option<Duration>,
}

/// Segments and checkpoints.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Checkpoint a shard after this much journal.
    pub checkpoint_bytes: u64,
    /// Checkpoint a changed shard after this time.
    pub checkpoint_interval: Duration,
    /// Free bytes of the disk below which writes are refused.
    pub min_free: u64,
    /// Between two looks at what is too old or too much.
    pub retention_interval: Duration,
    /// In which everything stored is read once; zero: never.
    pub scrub_interval: Duration,
    /// What becomes of a node that cannot read its journal.
    pub quarantine: Quarantine,
    /// Raft entries kept behind a checkpoint for followers that lag.
    pub journal_entries_kept: u64,
}

/// What becomes of a node that cannot read its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// Its data moves aside and is fetched again, if the other nodes can go on without it.
    Auto,
    /// It does not start.
    Refuse,
}

/// Elections.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// A follower campaigns after this much silence, at the earliest.
    pub election_min: Duration,
    /// And at the latest.
    pub election_max: Duration,
}

/// Bounds.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Bytes of requests held at once.
    pub request_memory_bytes: u64,
    /// Bytes of snapshots sent in a second.
    pub catch_up_rate: u64,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines appear, as `tracing` filters.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object.
    Json,
}
