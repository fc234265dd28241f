//! The cluster the cases run against, and what must hold after them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_testkit::{Cluster, metrics, until};
use tonic::transport::{Channel, Endpoint};

use crate::call;
use crate::refusal::{Refusal, Reply};

/// How long an election or an opening may take on a busy machine.
const WAIT: Duration = Duration::from_secs(40);
/// What a node may take up, whatever it was sent.
const RESIDENT_BYTES_MAX: f64 = 300e6;

/// A topic by name and id.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Bytes,
}

/// Three nodes and a connection to each.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pids: Vec<Option<u32>>,
    channels: BTreeMap<u64, Channel>,
}

impl Bench {
    /// Starts the nodes.
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let pids = cluster.nodes().iter().map(|node| node.pid()).collect();
        let mut channels = BTreeMap::new();
        for node in cluster.nodes() {
            let address = format!("http://{}", node.client_address());
            channels.insert(node.id(), Endpoint::from_shared(address)?.connect_lazy());
        }
        Ok(Self { cluster, pids, channels })
    }

    /// The connection to a node.
    pub(crate) fn channel(&self, node: u64) -> &Channel {
        self.channels.get(&node).expect("a node of the cluster")
    }

    /// A connection where it does not matter to whom.
    pub(crate) fn any(&self) -> &Channel {
        self.channel(1)
    }

    /// Where a node listens for clients.
    pub(crate) fn client_address(&self, node: u64) -> SocketAddr {
        let mut nodes = self.cluster.nodes().iter();
        nodes.find(|it| it.id() == node).expect("a node of the cluster").client_address()
    }

    /// Creates a topic.
    pub(crate) async fn topic(
        &self,
        name: &str,
        partitions: u32,
        config: &[(&str, &str)],
    ) -> Result<Topic> {
        let pairs = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = v1::CreateTopicRequest {
            name: name.to_owned(),
            partitions,
            config: pairs.collect(),
            timeout_ms: 30_000,
            ..v1::CreateTopicRequest::default()
        };
        let created = call::create(self.any(), request).await?;
        let topic = created.map_err(|refusal| anyhow!("create topic {name}: {refusal}"))?;
        Ok(Topic { name: name.to_owned(), id: topic.topic_id })
    }

    /// The node that leads a partition.
    pub(crate) async fn leader(&self, topic: &Topic, partition: u32) -> Result<u64> {
        until("a leader", WAIT, || async {
            let request = v1::MetadataRequest {
                topic_ids: vec![topic.id.clone()],
                ..v1::MetadataRequest::default()
            };
            let answer = call::cluster(self.any()).metadata(request).await?.into_inner();
            let found = answer.topics.first().context("the topic is not known")?;
            let at = usize::try_from(partition)?;
            found.partitions.get(at).and_then(|it| it.leader_node).context("no leader")
        })
        .await
    }

    /// Calls the leader of a partition until its answer is about the call, not about an election.
    pub(crate) async fn at_leader<T>(
        &self,
        topic: &Topic,
        partition: u32,
        call: impl AsyncFn(Channel) -> Result<Reply<T>>,
    ) -> Result<Reply<T>> {
        until("an answer of the leader", WAIT, || async {
            let leader = self.leader(topic, partition).await?;
            match call(self.channel(leader).clone()).await? {
                Err(refusal) if refusal.is_passing() || refusal.code() == "QP2001" => {
                    Err(anyhow!("{refusal}"))
                }
                reply => Ok(reply),
            }
        })
        .await
    }

    /// Calls until the answer is about the call, not about an election.
    pub(crate) async fn patiently<T>(
        &self,
        call: impl AsyncFn() -> Result<Reply<T>>,
    ) -> Result<Reply<T>> {
        until("an answer", WAIT, || async {
            match call().await? {
                Err(refusal) if refusal.is_passing() => Err(anyhow!("{refusal}")),
                reply => Ok(reply),
            }
        })
        .await
    }

    /// The next offset of a partition, as its leader knows it.
    pub(crate) async fn end(&self, topic: &Topic, partition: u32) -> Result<u64> {
        let at = Some(v1::offset_query::At::Latest(v1::Latest {}));
        let query = v1::OffsetQuery { topic_id: topic.id.clone(), partition, at };
        let reply =
            self.at_leader(topic, partition, async |node| call::offset(&node, query.clone()).await);
        let answer = reply.await?.map_err(|refusal| anyhow!("list offsets: {refusal}"))?;
        answer.offset.context("the latest offset is always known")
    }

    /// A fresh producer id.
    pub(crate) async fn producer(&self) -> Result<(i64, i16)> {
        until("a producer id", WAIT, || async {
            let answer = call::log(self.any()).init_producer(v1::InitProducerRequest {}).await;
            let answer = call::settle(answer).map_err(|refusal: Refusal| anyhow!("{refusal}"))?;
            Ok((answer.producer_id, i16::try_from(answer.producer_epoch)?))
        })
        .await
    }

    /// Every node still is the process it was, and has not grown beyond its bound.
    pub(crate) async fn is_unharmed(&mut self) -> Result<()> {
        let pids: Vec<Option<u32>> = self.cluster.nodes().iter().map(|node| node.pid()).collect();
        ensure!(pids == self.pids, "processes {pids:?}, not {:?}", self.pids);
        for id in self.channels.keys() {
            ensure!(!self.cluster.node(*id).has_died(), "node {id} died");
            let bytes = self.resident_bytes(*id).await?;
            ensure!(bytes < RESIDENT_BYTES_MAX, "node {id} takes {bytes} bytes");
        }
        Ok(())
    }

    async fn resident_bytes(&self, node: u64) -> Result<f64> {
        let nodes = self.cluster.nodes();
        let node = nodes.iter().find(|it| it.id() == node).context("a node of the cluster")?;
        let scrape = metrics::scrape(node.metrics_address());
        let page = tokio::time::timeout(WAIT, scrape).await.context("scrape /metrics")??;
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        Ok(value.context("no resident memory in /metrics")?.trim().parse()?)
    }
}
