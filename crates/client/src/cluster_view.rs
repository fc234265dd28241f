//! Who leads what, as far as this client knows.
//!
//! The view is immutable and swapped whole; a hint from a server changes one leader at once, a
//! refresh brings the rest. Nodes are asked in turn, so that one that is cut off and answers from
//! old knowledge is not asked for ever.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use quipu_proto::v1;
use quipu_types::{ByteCount, NodeId, TopicId, limits};
use tokio::sync::{Notify, watch};

use crate::Error;

mod refresh;

pub(crate) use refresh::{keep_fresh, lookup};

/// One moment's knowledge.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) cluster_id: String,
    /// Of the newest answer: older ones come from nodes that lag behind.
    version: u64,
    pub(crate) nodes: BTreeMap<NodeId, String>,
    pub(crate) topics: HashMap<Arc<str>, Arc<Topic>>,
}

/// A topic and its partitions' leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    /// By index of the partition; `None` while an election runs.
    pub(crate) leaders: Vec<Option<NodeId>>,
    pub(crate) batch_bytes_max: usize,
}

impl Topic {
    /// Number of partitions.
    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.leaders.len()).expect("bounded by TOPIC_PARTITIONS_MAX")
    }

    pub(crate) fn leader(&self, partition: u32) -> Option<NodeId> {
        self.leaders.get(usize::try_from(partition).ok()?).copied().flatten()
    }
}

/// The view and what keeps it fresh.
#[derive(Debug)]
pub(crate) struct ClusterView {
    view: ArcSwap<View>,
    bootstrap: Vec<String>,
    /// Whose turn it is to be asked.
    turn: AtomicUsize,
    /// Somebody needs newer knowledge.
    wanted: Arc<Notify>,
    /// Counts changes and finished refreshes.
    changed: watch::Sender<u64>,
}

impl ClusterView {
    pub(crate) fn new(bootstrap: Vec<String>) -> Self {
        Self {
            view: ArcSwap::default(),
            bootstrap,
            turn: AtomicUsize::new(0),
            wanted: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// A topic that is known already.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.view.load().topics.get(name).cloned()
    }

    pub(crate) fn bootstrap(&self) -> &[String] {
        &self.bootstrap
    }

    /// Asks for newer knowledge; [`Self::changes`] tells when it is there.
    pub(crate) fn want_refresh(&self) {
        self.wanted.notify_one();
    }

    /// Wakes after each change and each refresh.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Addresses to ask, the next in turn first; then those the user gave.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let view = self.view.load();
        let mut addresses: Vec<String> = view.nodes.values().cloned().collect();
        if !addresses.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        for address in &self.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Takes over what a server said.
    ///
    /// # Errors
    /// When the answer is of another cluster.
    pub(crate) fn merge(&self, answer: &v1::MetadataResponse, from: &str) -> Result<(), Error> {
        let known = self.view.load().cluster_id.clone();
        if !known.is_empty() && !answer.cluster_id.is_empty() && known != answer.cluster_id {
            let found = &answer.cluster_id;
            return Err(Error::invalid(format!(
                "{from} belongs to cluster {found}, this client is connected to {known}"
            )));
        }
        let alive: Vec<u64> =
            answer.nodes.iter().filter(|node| node.is_alive).map(|node| node.node_id).collect();
        self.update(|view| {
            if answer.version < view.version {
                return;
            }
            view.version = answer.version;
            if !answer.cluster_id.is_empty() {
                view.cluster_id.clone_from(&answer.cluster_id);
            }
            if !answer.nodes.is_empty() {
                view.nodes = answer.nodes.iter().map(node).collect();
            }
            for topic in &answer.topics {
                take_topic(view, topic, &alive);
            }
        });
        Ok(())
    }

    /// Takes over a topic this client created or changed: other nodes may not know it yet.
    pub(crate) fn merge_topic(&self, topic: &v1::TopicDescription) {
        let partitions = topic.partitions.iter().map(|partition| v1::PartitionMetadata {
            leader_node: partition.leader_node,
            replica_nodes: partition.replica_nodes.clone(),
        });
        let limit = topic.config.iter().find(|entry| entry.key == "max-batch-bytes");
        let limit = limit.and_then(|entry| entry.value.parse::<ByteCount>().ok());
        let topic = v1::TopicMetadata {
            name: topic.name.clone(),
            topic_id: topic.topic_id.clone(),
            partitions: partitions.collect(),
            max_batch_bytes: limit.and_then(|it| u32::try_from(it.get()).ok()).unwrap_or(0),
            ..v1::TopicMetadata::default()
        };
        self.update(|view| take_topic(view, &topic, &[]));
    }

    /// A server named the leader of a partition.
    pub(crate) fn set_leader(&self, topic: &str, partition: u32, leader: NodeId) {
        let Ok(index) = usize::try_from(partition) else { return };
        self.update(|view| {
            let Some(known) = view.topics.get_mut(topic) else { return };
            if known.leaders.get(index).is_some_and(|current| *current != Some(leader)) {
                Arc::make_mut(known).leaders[index] = Some(leader);
            }
        });
    }

    /// A topic is gone, or was changed by this client.
    pub(crate) fn forget_topic(&self, name: &str) {
        self.update(|view| {
            view.topics.remove(name);
        });
    }

    fn update(&self, mut change: impl FnMut(&mut View)) {
        self.view.rcu(|view| {
            let mut next = View::clone(view);
            change(&mut next);
            next
        });
        self.changed.send_modify(|count| *count += 1);
    }
}

fn node(node: &v1::Node) -> (NodeId, String) {
    (NodeId::new(node.node_id), node.address.clone())
}

/// The leader; where none is known a replica that is alive: it can say why, for example that too
/// few of its kind are.
fn whom_to_ask(partition: &v1::PartitionMetadata, alive: &[u64]) -> Option<NodeId> {
    let replicas = &partition.replica_nodes;
    let living = || replicas.iter().copied().find(|replica| alive.contains(replica));
    partition.leader_node.or_else(living).map(NodeId::new)
}

/// Takes over one topic of an answer. One that the answering node does not know stays, and so do
/// partitions: they may be younger than that node's knowledge, and a topic never has fewer. Who
/// sends records to it learns the truth.
fn take_topic(view: &mut View, topic: &v1::TopicMetadata, alive: &[u64]) {
    let id = TopicId::from_slice(&topic.topic_id).filter(|_| topic.error.is_none());
    let Some(id) = id else { return };
    let name: Arc<str> = topic.name.as_str().into();
    let batch_bytes_max = usize::try_from(topic.max_batch_bytes)
        .ok()
        .filter(|bytes| *bytes > 0)
        .unwrap_or(limits::BATCH_BYTES_MAX_DEFAULT);
    let mut leaders: Vec<Option<NodeId>> =
        topic.partitions.iter().map(|it| whom_to_ask(it, alive)).collect();
    if let Some(before) = view.topics.get(&name).filter(|before| before.id == id) {
        leaders.extend(before.leaders.iter().skip(leaders.len()));
    }
    let known = Topic { name: name.clone(), id, leaders, batch_bytes_max };
    view.topics.insert(name, Arc::new(known));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cluster: &str, leaders: &[Option<u64>]) -> v1::MetadataResponse {
        let partitions = leaders
            .iter()
            .map(|leader| v1::PartitionMetadata { leader_node: *leader, replica_nodes: vec![] });
        v1::MetadataResponse {
            cluster_id: cluster.to_owned(),
            nodes: vec![
                v1::Node { node_id: 1, address: "n1:1".to_owned(), ..Default::default() },
                v1::Node { node_id: 2, address: "n2:1".to_owned(), ..Default::default() },
            ],
            topics: vec![v1::TopicMetadata {
                name: "fees".to_owned(),
                topic_id: vec![7; 16].into(),
                partitions: partitions.collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_hint_changes_one_leader_and_wakes_watchers() {
        let view = ClusterView::new(vec!["b:1".to_owned()]);
        view.merge(&answer("c", &[Some(1), None]), "b:1").unwrap();
        let changes = view.changes();
        view.set_leader("fees", 1, NodeId::new(2));
        assert!(changes.has_changed().unwrap());
        let topic = view.topic("fees").unwrap();
        assert_eq!(topic.leaders, [Some(NodeId::new(1)), Some(NodeId::new(2))]);
        assert_eq!(topic.batch_bytes_max, limits::BATCH_BYTES_MAX_DEFAULT);
        view.set_leader("fees", 9, NodeId::new(2));
        view.set_leader("other", 0, NodeId::new(2));
        assert_eq!(view.topic("fees").unwrap(), topic);
    }

    #[test]
    fn a_node_that_does_not_know_new_partitions_takes_none_away() {
        let view = ClusterView::new(vec![]);
        view.merge(&answer("c", &[Some(1), Some(2), Some(1)]), "b:1").unwrap();
        view.merge(&answer("c", &[Some(2)]), "b:1").unwrap();
        let two = Some(NodeId::new(2));
        assert_eq!(view.topic("fees").unwrap().leaders, [two, two, Some(NodeId::new(1))]);
        let mut again = answer("c", &[Some(1)]);
        again.topics[0].topic_id = vec![8; 16].into();
        view.merge(&again, "b:1").unwrap();
        assert_eq!(view.topic("fees").unwrap().partitions(), 1, "another topic of the name");
    }

    #[test]
    fn every_node_gets_its_turn_and_the_bootstrap_address_stays() {
        let view = ClusterView::new(vec!["b:1".to_owned(), "n2:1".to_owned()]);
        assert_eq!(view.addresses(), ["b:1", "n2:1"]);
        view.merge(&answer("c", &[]), "b:1").unwrap();
        let first: Vec<String> = (0..2).map(|_| view.addresses()[0].clone()).collect();
        assert!(first.contains(&"n1:1".to_owned()) && first.contains(&"n2:1".to_owned()));
        assert_eq!(view.addresses().len(), 3);
    }

    #[test]
    fn another_cluster_is_refused() {
        let view = ClusterView::new(vec![]);
        view.merge(&answer("c", &[]), "b:1").unwrap();
        let refused = view.merge(&answer("d", &[]), "x:1").unwrap_err().to_string();
        assert_eq!(refused, "x:1 belongs to cluster d, this client is connected to c");
    }

    #[test]
    fn a_node_that_lags_behind_changes_nothing() {
        let view = ClusterView::new(vec![]);
        view.merge(&v1::MetadataResponse { version: 8, ..answer("c", &[Some(2)]) }, "b:1").unwrap();
        view.merge(&v1::MetadataResponse { version: 7, ..answer("c", &[Some(1)]) }, "b:1").unwrap();
        assert_eq!(view.topic("fees").unwrap().leader(0), Some(NodeId::new(2)));
        let mut unknown = v1::MetadataResponse { version: 8, ..answer("c", &[]) };
        unknown.topics[0].error = Some(v1::Error::default());
        view.merge(&unknown, "b:1").unwrap();
        assert!(view.topic("fees").is_some());
        view.forget_topic("fees");
        assert!(view.topic("fees").is_none());
    }
}
