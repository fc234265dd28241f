//! All metrics of this crate. Labels: api and error code, both closed sets; topics up to a bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};
use quipu_consensus::Role;
use quipu_metadata::{Image, TopicRecord};
pub use quipu_shard::{Phase, PhaseMetric};
use quipu_types::record::ValidatedBatch;
use quipu_types::{ErrorCode, TopicId};

const REQUESTS: &str = "quipu_requests_total";
const REQUEST_SECONDS: &str = "quipu_request_duration_seconds";
const RECORDS_IN: &str = "quipu_topic_records_in_total";
const BYTES_IN: &str = "quipu_topic_in_bytes_total";
const BYTES_OUT: &str = "quipu_topic_out_bytes_total";
const DUPLICATES: &str = "quipu_topic_duplicate_batches_total";
const RECORDS_DELETED: &str = "quipu_topic_records_deleted_total";
const BYTES_DELETED: &str = "quipu_topic_bytes_deleted_total";
const TOPIC_SIZE: &str = "quipu_topic_size_bytes";
const TOPIC_PARTITIONS: &str = "quipu_topic_partitions";
const TOPIC_RETENTION: &str = "quipu_topic_retention_seconds";
const TOPIC_OLDEST: &str = "quipu_topic_oldest_record_age_seconds";
const LEADERLESS: &str = "quipu_cluster_leaderless_partitions";
const UNDER_REPLICATED: &str = "quipu_cluster_under_replicated_partitions";
const AT_RISK: &str = "quipu_cluster_at_risk_partitions";
const NODES_DOWN: &str = "quipu_cluster_nodes_down";
const TOPICS: &str = "quipu_cluster_topics";
const PARTITIONS: &str = "quipu_cluster_partitions";
const PARTITIONS_MOVING: &str = "quipu_cluster_partitions_moving";
const SHARDS_LED: &str = "quipu_node_shards_led";
const SHARDS_OPEN: &str = "quipu_node_shards_open";
const RAFT_GROUPS: &str = "quipu_raft_groups";
const STORAGE_FULL: &str = "quipu_node_storage_full";
const MOVES: &str = "quipu_node_partition_moves_total";
const MOVED_BYTES: &str = "quipu_node_partition_moved_bytes_total";
const SCRUBS: &str = "quipu_node_scrubs_total";
const PANICS: &str = "quipu_request_panics_total";

/// What a request may fail with through no fault of its sender.
const FAULTS: [ErrorCode; 8] = [
    ErrorCode::LeadershipLost,
    ErrorCode::ControllerUnavailable,
    ErrorCode::NotEnoughReplicas,
    ErrorCode::StorageFull,
    ErrorCode::Overloaded,
    ErrorCode::DeadlineExceeded,
    ErrorCode::DataCorrupt,
    ErrorCode::Internal,
];

/// Topics with series of their own; the rest share [`OTHER`]. A scrape stays small, whatever users
/// create.
const TOPICS_MAX: usize = 1_000;
/// The label of topics beyond the bound: no topic may have this name.
const OTHER: &str = "__other";

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, Unit::Count, "Requests answered, by api and error (OK without).");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "From the request to its answer, by api.");
    describe_counter!(RECORDS_IN, Unit::Count, "Records acknowledged, repeats left out, by topic.");
    describe_counter!(
        BYTES_IN,
        Unit::Bytes,
        "Bytes of batches acknowledged, repeats left out, by topic."
    );
    describe_counter!(BYTES_OUT, Unit::Bytes, "Bytes of batches read, by topic.");
    describe_counter!(DUPLICATES, Unit::Count, "Batches recognised as repeats, by topic.");
    describe_counter!(
        RECORDS_DELETED,
        Unit::Count,
        "Records deleted, by topic and reason: age, size, request, compaction."
    );
    describe_counter!(
        BYTES_DELETED,
        Unit::Bytes,
        "Bytes deleted with them, by topic and reason; those of a request are not known."
    );
    describe_gauge!(
        TOPIC_SIZE,
        Unit::Bytes,
        "Bytes of the partitions that this node leads, by topic: the sum is one copy of the topic."
    );
    describe_gauge!(TOPIC_PARTITIONS, Unit::Count, "Partitions on all nodes, by topic.");
    describe_gauge!(
        TOPIC_RETENTION,
        Unit::Seconds,
        "How long records are kept at least, by topic; +Inf: age removes none."
    );
    describe_gauge!(
        TOPIC_OLDEST,
        Unit::Seconds,
        "Age of the oldest record of the partitions that this node leads, by topic; 0: there is none."
    );
    describe_counter!(MOVES, Unit::Count, "Partitions brought to shards that this node led.");
    describe_counter!(MOVED_BYTES, Unit::Bytes, "Bytes of batches brought with them.");
    describe_counter!(SCRUBS, Unit::Count, "Passes over everything stored, to find damage.");
    describe_gauge!(LEADERLESS, Unit::Count, "Partitions without a leader, as this node sees it.");
    describe_gauge!(
        UNDER_REPLICATED,
        Unit::Count,
        "Partitions with a replica on a node that is down."
    );
    describe_gauge!(
        AT_RISK,
        Unit::Count,
        "Partitions that lack a replica and lose their majority with the next."
    );
    describe_gauge!(NODES_DOWN, Unit::Count, "Nodes that do not answer this one.");
    describe_gauge!(TOPICS, Unit::Count, "Topics.");
    describe_gauge!(PARTITIONS, Unit::Count, "Partitions.");
    describe_gauge!(PARTITIONS_MOVING, Unit::Count, "Partitions on their way to another shard.");
    describe_gauge!(SHARDS_LED, Unit::Count, "Shards this node leads.");
    describe_gauge!(SHARDS_OPEN, Unit::Count, "Shards this node has a replica of.");
    describe_gauge!(
        RAFT_GROUPS,
        Unit::Count,
        "Replicas of this node by state: leader, follower, learner, candidate, stopped."
    );
    describe_gauge!(
        STORAGE_FULL,
        Unit::Count,
        "1 while the node takes no writes for want of space."
    );
    crate::coordinator::describe_metrics();
    describe_counter!(
        PANICS,
        Unit::Count,
        "Requests that ended in a defect of the server, by api."
    );
    begin_at_zero();
}

/// A rate of what never happened is 0, not missing.
fn begin_at_zero() {
    for name in [MOVES, MOVED_BYTES, SCRUBS] {
        counter!(name).increment(0);
    }
    for api in ["produce", "fetch"] {
        counter!(PANICS, "api" => api).increment(0);
        for fault in FAULTS {
            counter!(REQUESTS, "api" => api, "error" => fault.name()).increment(0);
        }
    }
}

/// Counts one answered request.
pub fn request(api: &'static str, error: Option<ErrorCode>, took: Duration) {
    let error = error.map_or("OK", ErrorCode::name);
    counter!(REQUESTS, "api" => api, "error" => error).increment(1);
    histogram!(REQUEST_SECONDS, "api" => api).record(took.as_secs_f64());
}

/// How many replicas of this node are in which state.
pub(crate) fn raft_groups(roles: &[Role]) {
    let state_of = |role: &Role| match role {
        Role::Leader { .. } => "leader",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Candidate => "candidate",
        Role::Stopped => "stopped",
    };
    for state in ["leader", "follower", "learner", "candidate", "stopped"] {
        let count = roles.iter().filter(|role| state_of(role) == state).count();
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        gauge!(RAFT_GROUPS, "state" => state).set(count);
    }
}

/// Counts a pass over everything stored.
pub(crate) fn scrubbed() {
    counter!(SCRUBS).increment(1);
}

/// Counts a partition that has arrived.
pub(crate) fn partition_moved() {
    counter!(MOVES).increment(1);
}

/// Counts what was brought with partitions that move.
pub(crate) fn moved(bytes: usize) {
    counter!(MOVED_BYTES).increment(u64::try_from(bytes).unwrap_or(u64::MAX));
}

/// Counts a request that panicked.
pub fn panicked(api: &'static str) {
    counter!(PANICS, "api" => api).increment(1);
}

/// A page of metrics without the series of topics and groups that are gone: the recorder has them
/// still.
pub(crate) fn without_gone(page: &str, image: &Image, groups: &LiveGroups) -> String {
    let topics: BTreeSet<&str> = image.topics.iter().map(|(name, _)| name.as_str()).collect();
    let is_topic_gone = |topic: &str| topic != OTHER && !topics.contains(topic);
    let is_kept = |line: &&str| {
        let topic = label(line, "topic");
        let of_group = |group| groups.has(group, topic);
        !topic.is_some_and(is_topic_gone) && label(line, "group").is_none_or(of_group)
    };
    page.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// The value of a label of a series. Names of topics and groups need no escapes.
fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let labels = line.split_once('{')?.1;
    let values = labels.split(',').filter_map(|pair| pair.split_once("=\""));
    values.into_iter().find(|(found, _)| *found == name)?.1.split_once('"').map(|(value, _)| value)
}

/// The groups that this node measures, with the topics that each reads: a group is another node's
/// once another node leads its shard.
#[derive(Debug, Default)]
pub(crate) struct LiveGroups(Mutex<BTreeMap<(String, Option<String>), usize>>);

/// A group's series are on the page until this is dropped.
#[derive(Debug)]
pub(crate) struct LiveGroup {
    all: Arc<LiveGroups>,
    key: (String, Option<String>),
}

impl LiveGroups {
    /// Shows the series of a group; with a topic, those of the group and the topic.
    pub(crate) fn show(self: &Arc<Self>, group: &str, topic: Option<&str>) -> LiveGroup {
        let key = (group.to_owned(), topic.map(str::to_owned));
        *self.lock().entry(key.clone()).or_default() += 1;
        LiveGroup { all: Arc::clone(self), key }
    }

    fn has(&self, group: &str, topic: Option<&str>) -> bool {
        self.lock().contains_key(&(group.to_owned(), topic.map(str::to_owned)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Option<String>), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveGroup {
    /// All groups that are shown.
    pub(crate) fn all(&self) -> &Arc<LiveGroups> {
        &self.all
    }
}

impl Drop for LiveGroup {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.key);
            }
        }
    }
}

/// Instruments of topics, looked up once per topic.
#[derive(Debug, Default)]
pub struct BrokerMetrics {
    topics: RwLock<HashMap<TopicId, TopicMetrics>>,
    others: OnceLock<TopicMetrics>,
    all: Arc<AllTopics>,
    groups: Arc<LiveGroups>,
}

/// One topic's instruments.
#[derive(Clone, Debug)]
pub(crate) struct TopicMetrics {
    inner: Arc<Instruments>,
}

#[derive(Debug)]
struct Instruments {
    topic: String,
    records_in: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    duplicates: Counter,
    all: Arc<AllTopics>,
}

/// Bytes of all topics since the start, for those who ask without Prometheus.
#[derive(Debug, Default)]
struct AllTopics {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl BrokerMetrics {
    /// The instruments of a topic.
    pub(crate) fn topic(&self, topic: &TopicRecord) -> TopicMetrics {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(&topic.id) {
            return metrics.clone();
        }
        let is_room = known.len() < TOPICS_MAX;
        drop(known);
        if !is_room {
            let others = || TopicMetrics::new(OTHER, Arc::clone(&self.all));
            return self.others.get_or_init(others).clone();
        }
        let metrics = TopicMetrics::new(topic.name.as_str(), Arc::clone(&self.all));
        let mut known = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(topic.id, metrics.clone());
        metrics
    }

    /// Bytes that clients sent and read since the start.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (of(&self.all.bytes_in), of(&self.all.bytes_out))
    }

    /// The groups that this node measures.
    pub(crate) fn groups(&self) -> &Arc<LiveGroups> {
        &self.groups
    }

    /// Lets go of topics that are gone. Their series end with [`without_gone`].
    pub(crate) fn retain(&self, image: &Image) {
        let mut known = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|topic, _| image.topic_by_id(topic).is_some());
    }
}

impl TopicMetrics {
    fn new(topic: &str, all: Arc<AllTopics>) -> Self {
        let topic = topic.to_owned();
        for reason in DeletionReason::ALL {
            count_deleted(&topic, reason, 0, 0);
        }
        Self {
            inner: Arc::new(Instruments {
                records_in: counter!(RECORDS_IN, "topic" => topic.clone()),
                bytes_in: counter!(BYTES_IN, "topic" => topic.clone()),
                bytes_out: counter!(BYTES_OUT, "topic" => topic.clone()),
                duplicates: counter!(DUPLICATES, "topic" => topic.clone()),
                topic,
                all,
            }),
        }
    }

    /// A batch on its way in.
    pub(crate) fn appending(self, batch: &ValidatedBatch) -> Appending {
        Appending {
            topic: self,
            records: u64::from(batch.record_count()),
            bytes: batch.bytes().len() as u64,
        }
    }

    /// Counts records that are gone.
    pub(crate) fn deleted(&self, reason: DeletionReason, records: u64, bytes: u64) {
        if records == 0 {
            return;
        }
        count_deleted(&self.inner.topic, reason, records, bytes);
    }

    /// Says what the topic holds and keeps.
    pub(crate) fn show(&self, census: &TopicCensus) {
        let topic = &self.inner.topic;
        if topic != OTHER {
            gauge!(TOPIC_SIZE, "topic" => topic.clone()).set(census.bytes_led);
            gauge!(TOPIC_PARTITIONS, "topic" => topic.clone()).set(census.partitions);
            gauge!(TOPIC_RETENTION, "topic" => topic.clone()).set(census.retention_seconds);
            gauge!(TOPIC_OLDEST, "topic" => topic.clone()).set(census.oldest_age_seconds);
        }
    }

    /// Counts bytes on their way out.
    pub(crate) fn fetched(&self, bytes: usize) {
        self.inner.bytes_out.increment(bytes as u64);
        self.inner.all.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn count_deleted(topic: &str, reason: DeletionReason, records: u64, bytes: u64) {
    let labels = [("topic", topic.to_owned()), ("reason", reason.name().to_owned())];
    counter!(RECORDS_DELETED, &labels).increment(records);
    counter!(BYTES_DELETED, &labels).increment(bytes);
}

/// Why records are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeletionReason {
    /// Too old.
    Age,
    /// Too many.
    Size,
    /// Somebody asked for it.
    Request,
    /// A newer record has the same key, or a tombstone's time was over.
    Compaction,
}

impl DeletionReason {
    const ALL: [Self; 4] = [Self::Age, Self::Size, Self::Request, Self::Compaction];

    const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Request => "request",
            Self::Compaction => "compaction",
        }
    }
}

/// A batch on its way in, counted when it is acknowledged.
#[derive(Debug)]
pub(crate) struct Appending {
    topic: TopicMetrics,
    records: u64,
    bytes: u64,
}

impl Appending {
    /// The batch was acknowledged.
    pub(crate) fn done(&self, is_duplicate: bool) {
        let instruments = &self.topic.inner;
        if is_duplicate {
            instruments.duplicates.increment(1);
        } else {
            instruments.records_in.increment(self.records);
            instruments.bytes_in.increment(self.bytes);
            instruments.all.bytes_in.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What a topic holds and keeps.
pub(crate) struct TopicCensus {
    pub(crate) bytes_led: f64,
    pub(crate) partitions: f64,
    /// Infinite when age removes nothing.
    pub(crate) retention_seconds: f64,
    pub(crate) oldest_age_seconds: f64,
}

/// Gauges that are read off when somebody asks.
pub(crate) struct Census {
    pub(crate) leaderless: usize,
    pub(crate) under_replicated: usize,
    pub(crate) at_risk: usize,
    pub(crate) nodes_down: usize,
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
    pub(crate) partitions_moving: usize,
    pub(crate) shards_led: usize,
    pub(crate) shards_open: usize,
    pub(crate) is_storage_full: bool,
}

impl Census {
    /// Sets the gauges.
    pub(crate) fn publish(&self) {
        let gauges = [
            (LEADERLESS, self.leaderless),
            (UNDER_REPLICATED, self.under_replicated),
            (AT_RISK, self.at_risk),
            (NODES_DOWN, self.nodes_down),
            (TOPICS, self.topics),
            (PARTITIONS, self.partitions),
            (PARTITIONS_MOVING, self.partitions_moving),
            (SHARDS_LED, self.shards_led),
            (SHARDS_OPEN, self.shards_open),
            (STORAGE_FULL, usize::from(self.is_storage_full)),
        ];
        for (name, value) in gauges {
            gauge!(name).set(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_topics_and_groups_that_are_gone_are_left_out() {
        let groups = Arc::new(LiveGroups::default());
        let sms = groups.show("sms", None);
        let page = "# TYPE a counter\na{topic=\"gone\"} 1\na{group=\"sms\",topic=\"gone\"} 2\n\
                    a{group=\"sms\"} 3\na{group=\"old\"} 4\nb 5\n";
        let kept = |groups| without_gone(page, &Image::default(), groups);
        assert_eq!(kept(&groups), "# TYPE a counter\na{group=\"sms\"} 3\nb 5\n");
        let again = groups.show("sms", None);
        drop(sms);
        assert!(kept(&groups).contains("sms"), "somebody else measures it");
        drop(again);
        assert_eq!(kept(&groups), "# TYPE a counter\nb 5\n");
    }

    #[test]
    fn a_label_is_found_by_its_whole_name() {
        let line = "a_bucket{sub_topic=\"x\",topic=\"fees\",le=\"1\"} 7";
        assert_eq!((label(line, "topic"), label(line, "le")), (Some("fees"), Some("1")));
        assert_eq!((label(line, "group"), label("a 1", "topic")), (None, None));
    }
}
