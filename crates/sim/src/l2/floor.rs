//! What the brokers of a run stand on: one image, clocks that go wrong, the books.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_metadata::topic_config::TopicConfig;
use quipu_metadata::{Image, NodeRecord, NodeState, ShardRecord, TopicRecord};
use quipu_runtime::{Clock, Rng};
use quipu_types::{
    ClusterId, DirectoryId, Incarnation, LevelRange, MetadataVersion, NodeId, PartitionId,
    PartitionIndex, ShardId, StartId, TopicId, TopicName,
};

use super::books::Books;
use super::plan::{PARTITIONS, Plan, TopicPlan};
use super::rules::Rules;
use crate::l1::ground::replica_on;
use crate::l1::oracle::Watch;
use crate::l1::scene::Scene;

/// When runs begin. Unit: milliseconds since 1970.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// How often a wall clock moves on.
const WALL_TICK: Duration = Duration::from_millis(20);
/// A machine's clock is as good as this. Unit: milliseconds.
pub(super) const SKEW_MS: u64 = 300;

/// One run's. Shared by everybody.
pub(crate) struct Floor {
    pub(super) plan: Plan,
    books: Arc<Mutex<Books>>,
    scene: Scene,
    /// What each machine's wall clock is off by.
    walls: Mutex<BTreeMap<NodeId, Wall>>,
}

#[derive(Clone, Copy, Debug)]
struct Wall {
    skew_ms: i64,
    jump_ms: i64,
}

impl Floor {
    pub(super) fn new(plan: Plan, rng: &mut Rng, scene: Scene) -> Arc<Self> {
        let nodes = (1..=plan.cluster.nodes).map(NodeId::new);
        let mut skew = || {
            let drawn = rng.below(2 * SKEW_MS + 1);
            i64::try_from(drawn).expect("small") - i64::try_from(SKEW_MS).expect("small")
        };
        let walls = nodes.map(|node| (node, Wall { skew_ms: skew(), jump_ms: 0 })).collect();
        let mut books = Books::new(scene.clone());
        for (topic, one) in topics(&plan) {
            for index in 0..PARTITIONS {
                let partition = PartitionId::new(topic, PartitionIndex::new(index));
                books.open(partition, one.age_ms, one.bytes);
            }
        }
        let books = Arc::new(Mutex::new(books));
        Arc::new(Self { plan, books, scene, walls: Mutex::new(walls) })
    }

    /// What is known of everything.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a shard's log.
    pub(crate) fn watch(&self, scene: &Scene, shard: ShardId) -> Box<dyn Watch> {
        Box::new(Rules::new(Arc::clone(&self.books), scene.clone(), shard))
    }

    /// The true time. Unit: milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        now_ms(&self.scene)
    }

    pub(crate) fn retention_interval(&self) -> Duration {
        self.plan.retention_interval
    }

    /// Every topic with its plan.
    pub(super) fn topics(&self) -> impl Iterator<Item = (TopicId, &TopicPlan)> {
        topics(&self.plan)
    }

    /// All partitions of some topics.
    pub(super) fn partitions(&self, of: &[&str]) -> Vec<PartitionId> {
        let named = self.topics().filter(|(_, topic)| of.contains(&topic.name));
        named
            .flat_map(|(topic, _)| {
                (0..PARTITIONS).map(move |at| PartitionId::new(topic, PartitionIndex::new(at)))
            })
            .collect()
    }

    /// All partitions there are.
    pub(super) fn all_partitions(&self) -> Vec<PartitionId> {
        self.partitions(&self.plan.topics.iter().map(|topic| topic.name).collect::<Vec<_>>())
    }

    /// The name of a partition's topic.
    pub(super) fn topic_of(&self, partition: PartitionId) -> &'static str {
        let mut topics = self.topics();
        topics.find(|(id, _)| *id == partition.topic).map_or("", |(_, topic)| topic.name)
    }

    /// The clocks of a machine as a process finds them when it starts: right by then.
    pub(crate) fn clock(&self, node: NodeId) -> Clock {
        self.set_jump(node, 0);
        Clock::fixed(self.wall_ms(node))
    }

    /// Moves a process's wall clock on, for ever.
    pub(crate) fn run_clock(
        self: &Arc<Self>,
        node: NodeId,
        clock: Clock,
    ) -> impl Future<Output = ()> + Send + 'static {
        let own = Arc::clone(self);
        async move {
            loop {
                clock.set_wall_ms(own.wall_ms(node));
                tokio::time::sleep(WALL_TICK).await;
            }
        }
    }

    fn wall_ms(&self, node: NodeId) -> i64 {
        let walls = self.walls.lock().unwrap_or_else(PoisonError::into_inner);
        walls.get(&node).map_or(0, |wall| wall.skew_ms + wall.jump_ms) + self.now_ms()
    }

    /// A machine's wall clock is off by so much from now on, beside its skew.
    pub(super) fn set_jump(&self, node: NodeId, jump_ms: i64) {
        let mut walls = self.walls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wall) = walls.get_mut(&node) {
            wall.jump_ms = jump_ms;
        }
    }

    /// What all nodes know of the cluster.
    pub(crate) fn image(&self) -> Image {
        let nodes: Vec<NodeId> = (1..=self.plan.cluster.nodes).map(NodeId::new).collect();
        let shards: Vec<ShardId> =
            (1..=self.plan.cluster.storage.shards).map(ShardId::new).collect();
        let mut image = Image::default();
        image.version = MetadataVersion::new(1);
        image.cluster = ClusterId::from_bytes([1; 16]);
        image.shards_per_node = 1;
        image.nodes = nodes.iter().map(|node| (*node, node_record(*node))).collect();
        let class = u8::try_from(nodes.len()).expect("few");
        for (at, shard) in shards.iter().enumerate() {
            let mut members: Vec<_> = nodes.iter().map(|node| (replica_on(*node), *node)).collect();
            members.rotate_left(at % nodes.len());
            image.insert_shard(*shard, ShardRecord::new(members, class));
        }
        for (id, topic) in self.topics() {
            let config = TopicConfig {
                retention_ms: topic.age_ms,
                retention_bytes: topic.bytes,
                segment_bytes: topic.segment_bytes,
                segment_ms: 2_000,
                ..TopicConfig::for_replication(class)
            };
            let partitions = shards.iter().cycle().copied();
            let count = usize::try_from(PARTITIONS).expect("few");
            image.insert_topic(Arc::new(TopicRecord {
                id,
                name: TopicName::new(topic.name).expect("a good name"),
                partitions: partitions.take(count).collect(),
                partitions_first: PARTITIONS,
                replication: class,
                config,
                own: None,
                was_compacted: false,
                moves: BTreeMap::new(),
                arrived: BTreeMap::new(),
            }));
        }
        image.slices = shards;
        image
    }
}

/// The true time of a run. Unit: milliseconds since 1970.
pub(super) fn now_ms(scene: &Scene) -> i64 {
    BEGIN_MS + i64::try_from(scene.now().as_millis()).expect("runs are short")
}

fn topics(plan: &Plan) -> impl Iterator<Item = (TopicId, &TopicPlan)> {
    (1..).zip(&plan.topics).map(|(number, topic)| (TopicId::from_bytes([number; 16]), topic))
}

fn node_record(node: NodeId) -> NodeRecord {
    NodeRecord {
        address_client: format!("node-{node}:9192"),
        address_peer: format!("node-{node}:9292"),
        directory: DirectoryId::from_bytes([2; 16]),
        incarnation: Incarnation::new(1),
        start: StartId::default(),
        rack: String::new(),
        version: String::new(),
        levels: LevelRange::default(),
        state: NodeState::Active,
        rebuilt: None,
    }
}
