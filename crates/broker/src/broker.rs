//! The broker's handle, and what it stands on.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quipu_consensus::Consensus;
use quipu_metadata::{Image, Metadata};
use quipu_runtime::{Clock, OnExit, TaskGroup};
use quipu_shard::{OpenError, ResidenceError, Shard, Shards};
use quipu_types::{MoveId, NodeId, PartitionId, ReplicaId, ShardId};
use tokio::sync::Semaphore;

use crate::calls;
use crate::catching_up::{self, CatchingUp};
use crate::coordinator::Coordinator;
use crate::damage::{self, Damages, Loans};
use crate::fetch::FetchMemory;
use crate::freshness::Freshness;
use crate::host::{self, Duties, Host, Hosting};
use crate::init_producer::ProducerIds;
use crate::metrics::BrokerMetrics;
use crate::oldest::OldestRecords;

/// Opens and forgets replicas of shards: the part that knows the journal and the tables.
pub trait OpenShard: Send + Sync + 'static {
    /// Opens the replica, on a disk that holds no other of the shard; called once per shard until
    /// [`Self::evict`].
    fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
    ) -> BoxFuture<'static, Result<Shard, OpenError>>;
    /// The shard is closed and the node hosts it no more: all that is kept of it goes, of its
    /// checkpoint and of these partitions, each with the move that brought it.
    fn evict(
        &self,
        shard: ShardId,
        partitions: Vec<(PartitionId, Option<MoveId>)>,
    ) -> BoxFuture<'static, Result<(), ResidenceError>>;
    /// Every shard of which something is kept, with whose it is.
    fn residents(&self) -> BoxFuture<'static, Result<Vec<(ShardId, ReplicaId)>, ResidenceError>>;
}

/// What a broker stands on.
#[derive(Clone)]
pub struct BrokerEnv {
    /// This node.
    pub node: NodeId,
    /// The node's consensus; shard 0 is open already.
    pub consensus: Arc<Consensus>,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// Where opened shards are kept: shared with the checkpointer.
    pub shards: Shards,
    /// How shards are opened.
    pub opener: Arc<dyn OpenShard>,
    /// Between two looks at what is too old or too much.
    pub retention_interval: Duration,
    /// Time in which everything stored is read once, to find damage; zero: never.
    pub scrub_interval: Duration,
    /// Time.
    pub clock: Clock,
    /// The node's tasks.
    pub tasks: TaskGroup,
}

/// Everything a client may ask for. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) metadata: Metadata,
    pub(crate) shards: Shards,
    pub(crate) retention_interval: Duration,
    /// Taken by whoever rewrites segments: one at a time.
    pub(crate) compacting: Semaphore,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    pub(crate) hosting: Hosting,
    pub(crate) damages: Damages,
    pub(crate) loans: Loans,
    pub(crate) freshness: Freshness,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) fetch_memory: FetchMemory,
    pub(crate) coordinator: Coordinator,
    pub(crate) metrics: BrokerMetrics,
    /// When it began to count, milliseconds since 1970.
    pub(crate) counting_since_ms: i64,
    pub(crate) oldest: OldestRecords,
    pub(crate) catching_up: CatchingUp,
}

impl Broker {
    /// Starts the broker's tasks: shards open as the image names them.
    #[must_use]
    pub fn start(env: BrokerEnv) -> Self {
        let broker = Self::start_with(env, host::all_duties);
        let catching_up = catching_up::run(broker.clone());
        broker.inner.tasks.spawn("catching-up", OnExit::Log, catching_up);
        broker
    }

    /// As [`Self::start`], with these duties beside each open shard.
    pub(crate) fn start_with(env: BrokerEnv, duties: Duties) -> Self {
        let tasks = env.tasks.child("broker");
        let hosting = Hosting::default();
        let counting_since_ms = env.clock.wall_ms();
        let broker = Self {
            inner: Arc::new(Inner {
                node: env.node,
                consensus: env.consensus,
                metadata: env.metadata,
                shards: env.shards,
                retention_interval: env.retention_interval,
                compacting: Semaphore::new(1),
                clock: env.clock,
                tasks: tasks.clone(),
                hosting,
                damages: Damages::default(),
                loans: Loans::default(),
                freshness: Freshness::default(),
                producer_ids: ProducerIds::default(),
                fetch_memory: FetchMemory::default(),
                coordinator: Coordinator::default(),
                metrics: BrokerMetrics::default(),
                counting_since_ms,
                oldest: OldestRecords::default(),
                catching_up: CatchingUp::default(),
            }),
        };
        calls::register(&broker);
        damage::start(&broker, &tasks, env.scrub_interval);
        let host = Host::new(broker.clone(), env.opener, duties);
        tasks.spawn("host", OnExit::StopNode, host.run());
        broker
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// The broker's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The metadata as this node knows it.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.inner.metadata.image()
    }

    /// Instruments of requests.
    #[must_use]
    pub fn metrics(&self) -> &BrokerMetrics {
        &self.inner.metrics
    }

    /// Whether the node has begun to shut down.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.tasks.token().is_cancelled()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("node", &self.inner.node).finish_non_exhaustive()
    }
}
