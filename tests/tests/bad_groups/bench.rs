//! The cluster the cases run against, and what must hold after them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_proto::v1::admin_client::AdminClient;
use quipu_testkit::{Cluster, metrics, until};
use tonic::transport::{Channel, Endpoint};

use crate::refusal::{Refusal, Reply, settle};

/// How long a case may take.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// The topic of all cases.
pub(crate) const TOPIC: &str = "bad.groups";
/// How many partitions it has.
pub(crate) const PARTITIONS: u32 = 4;
/// How long the first topic may take on a busy machine.
const TOPIC_WAIT: Duration = Duration::from_secs(40);

/// Three nodes, a connection to each, and a topic.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    /// The topic's id.
    pub(crate) topic_id: Bytes,
    pids: Vec<Option<u32>>,
    channels: BTreeMap<u64, Channel>,
}

/// Bounds an answer; silence is one of the ways not to get one.
pub(crate) async fn within<T>(what: &str, answer: impl Future<Output = Reply<T>>) -> Reply<T> {
    let silent = |_| Refusal::Silent(format!("waited {WAIT:?} for {what}"));
    tokio::time::timeout(WAIT, answer).await.map_err(silent)?
}

impl Bench {
    /// Starts the nodes and creates the topic.
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let pids = cluster.nodes().iter().map(|node| node.pid()).collect();
        let mut channels = BTreeMap::new();
        for node in cluster.nodes() {
            let address = format!("http://{}", node.client_address());
            channels.insert(node.id(), Endpoint::from_shared(address)?.connect_lazy());
        }
        let mut bench = Self { cluster, topic_id: Bytes::new(), pids, channels };
        bench.topic_id = bench.create_topic().await?;
        Ok(bench)
    }

    async fn create_topic(&self) -> Result<Bytes> {
        let request = v1::CreateTopicRequest {
            name: TOPIC.to_owned(),
            partitions: PARTITIONS,
            timeout_ms: 30_000,
            ..v1::CreateTopicRequest::default()
        };
        let channel = self.channel(1);
        let created = until("the topic", TOPIC_WAIT, || async {
            let mut admin = AdminClient::new(channel.clone());
            let created = settle(admin.create_topic(request.clone()).await);
            created.map_err(|refusal| anyhow!("{refusal}"))
        });
        Ok(created.await?.topic.context("neither topic nor error")?.topic_id)
    }

    /// The connection to a node.
    pub(crate) fn channel(&self, node: u64) -> &Channel {
        self.channels.get(&node).expect("a node of the cluster")
    }

    /// Asks the node that coordinates the group: a node that does not names the one that does.
    /// What passes, as elections do, is waited for.
    pub(crate) async fn ask<T>(&self, call: impl AsyncFn(Channel) -> Reply<T>) -> Reply<T> {
        let node = Cell::new(1_u64);
        let asked = until("an answer of the coordinator", WAIT, || async {
            match call(self.channel(node.get()).clone()).await {
                Err(refusal) if refusal.is_passing() => {
                    node.set(refusal.coordinator().unwrap_or_else(|| node.get()));
                    Err(anyhow!("{refusal}"))
                }
                reply => Ok(reply),
            }
        });
        asked.await.unwrap_or_else(|error| Err(Refusal::Silent(format!("{error:#}"))))
    }

    /// A position in the topic.
    pub(crate) fn position(&self, partition: u32, offset: u64) -> v1::CommitOffset {
        let topic_id = self.topic_id.clone();
        v1::CommitOffset { topic_id, partition, offset, leader_epoch: -1, metadata: String::new() }
    }

    /// Partitions of the topic.
    pub(crate) fn partitions(
        &self,
        partitions: impl IntoIterator<Item = u32>,
    ) -> v1::TopicPartitions {
        let partitions = partitions.into_iter().collect();
        v1::TopicPartitions { topic_id: self.topic_id.clone(), topic: String::new(), partitions }
    }

    /// Every node still is the process it was.
    pub(crate) fn is_unharmed(&mut self) -> Result<()> {
        let pids: Vec<Option<u32>> = self.cluster.nodes().iter().map(|node| node.pid()).collect();
        ensure!(pids == self.pids, "processes {pids:?}, not {:?}", self.pids);
        for id in self.channels.keys() {
            ensure!(!self.cluster.node(*id).has_died(), "node {id} died");
        }
        Ok(())
    }

    /// Waits until some node has a metric of a group.
    pub(crate) async fn has_metric(&self, metric: &str, group: &str) -> Result<()> {
        let label = format!("group=\"{group}\"");
        until("a metric", WAIT, || async {
            for node in self.cluster.nodes() {
                let page = metrics::scrape(node.metrics_address()).await;
                let page = page.with_context(|| format!("scrape node {}", node.id()))?;
                let is_it = |line: &str| line.starts_with(metric) && line.contains(&label);
                if page.lines().any(is_it) {
                    return Ok(());
                }
            }
            Err(anyhow!("no {metric} of {group}"))
        })
        .await
    }
}
