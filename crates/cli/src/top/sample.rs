//! What the nodes of a cluster tell at one moment.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use quipu_client::{
    Admin, Client, ClusterDescription, GroupDescription, NodeId, TopicDescription, Traffic,
};
use tokio::time::Instant;

/// How long an answer may take before the view goes without it.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When it was taken.
    pub(super) taken: Instant,
    pub(super) cluster: ClusterDescription,
    /// Of the nodes that answered.
    pub(super) traffic: BTreeMap<u64, Traffic>,
    pub(super) topics: BTreeMap<String, TopicSample>,
    pub(super) groups: Vec<GroupDescription>,
    /// Who did not answer, one sentence each.
    pub(super) silent: Vec<String>,
}

/// A topic, as all nodes together know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicSample {
    pub(super) topic_id: String,
    pub(super) partitions: usize,
    /// By index, of the partitions that some node told of: log start and end.
    pub(super) bounds: BTreeMap<u32, (u64, u64)>,
}

impl Sample {
    /// Asks every node that is alive.
    ///
    /// # Errors
    /// When no node answers.
    pub(super) async fn take(client: &Client) -> anyhow::Result<Self> {
        let admin = client.admin();
        let cluster = admin.describe_cluster().await?;
        let alive = cluster.nodes.iter().filter(|node| node.is_alive);
        let nodes: Vec<NodeId> = alive.map(|node| NodeId::new(node.node_id)).collect();
        let (told, groups) =
            tokio::join!(join_all(nodes.iter().map(|node| ask(&admin, *node))), groups(&admin));
        let mut sample = Self {
            taken: Instant::now(),
            cluster,
            traffic: BTreeMap::new(),
            topics: BTreeMap::new(),
            groups: Vec::new(),
            silent: Vec::new(),
        };
        for (node, told) in nodes.into_iter().zip(told) {
            match told {
                Ok((traffic, topics)) => {
                    sample.traffic.extend(traffic.map(|traffic| (node.get(), traffic)));
                    topics.iter().for_each(|topic| sample.learn(topic));
                }
                Err(why) => sample.silent.push(format!("node {node}: {why}")),
            }
        }
        for group in groups {
            match group {
                Ok(group) => sample.groups.push(group),
                Err(why) => sample.silent.push(why),
            }
        }
        Ok(sample)
    }

    /// Replicas differ by what is under way: the farthest is the nearest to the truth.
    fn learn(&mut self, topic: &TopicDescription) {
        let known = self.topics.entry(topic.name.clone()).or_default();
        known.topic_id.clone_from(&topic.topic_id);
        known.partitions = known.partitions.max(topic.partitions.len());
        for partition in &topic.partitions {
            if let (Some(start), Some(end)) = (partition.log_start, partition.high_watermark) {
                let bounds = known.bounds.entry(partition.index).or_default();
                *bounds = (bounds.0.max(start), bounds.1.max(end));
            }
        }
    }
}

type Told = (Option<Traffic>, Vec<TopicDescription>);

async fn ask(admin: &Admin, node: NodeId) -> Result<Told, String> {
    let both =
        async { tokio::try_join!(admin.describe_cluster_at(node), admin.list_topics_at(node)) };
    let (cluster, topics) = Box::pin(within(both)).await?;
    Ok((cluster.traffic, topics))
}

async fn groups(admin: &Admin) -> Vec<Result<GroupDescription, String>> {
    let groups = match within(admin.list_groups()).await {
        Ok(groups) => groups,
        Err(why) => return vec![Err(format!("groups: {why}"))],
    };
    let described = groups.into_iter().map(|group| async move {
        let described = within(admin.describe_group(&group.group)).await;
        described.map_err(|why| format!("group {}: {why}", group.group))
    });
    join_all(described).await
}

async fn within<T>(answer: impl Future<Output = quipu_client::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_WAIT, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WAIT.as_secs())),
    }
}
