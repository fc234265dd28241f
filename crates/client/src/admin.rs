//! Topics and the cluster itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, ShardId, TimestampMs, TopicId};

use crate::call::{Call, Target};
use crate::client::{Shared, admin_service, cluster_service};
use crate::{Error, Result};

mod add_partitions;
mod describe;
mod groups;
mod levels;
mod move_partitions;
mod nodes;
pub(crate) mod offsets;
mod policies;
mod request;

pub use add_partitions::GrownTopic;
pub use describe::{
    ClusterDescription, ConfigEntry, NodeDescription, PartitionChecksum, PartitionDescription,
    ReplicaDescription, ShardDescription, SnapshotReceipt, StorageFull, TopicDescription, Traffic,
};
pub use groups::{Group, GroupDescription, GroupMember, GroupOffset, GroupPartition};
pub use levels::FinalizedLevel;
pub use nodes::{NodeChange, ReplicaMove};
pub use offsets::{OffsetAt, OffsetFound};
pub use policies::Policy;
pub use request::{NewTopic, TopicChange};

/// Administrative calls. Any node takes them; what another must decide is passed on.
///
/// All are bounded by [`crate::ClientBuilder::request_timeout`]. A call that changes something is
/// sent again only while it is certain that it did not happen; otherwise its error has effect
/// unknown, and describing the topic tells what is true.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// use quipu_client::NewTopic;
///
/// let admin = client.admin();
/// let topic = admin.create_topic(NewTopic::new("fees").partitions(12)).await?;
/// assert_eq!(topic.partitions.len(), 12);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<Shared>,
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Creates a topic and waits until each partition has a leader that serves.
    ///
    /// # Errors
    /// `TOPIC_EXISTS`, `INVALID_TOPIC_NAME`, `INVALID_PARTITIONS`, `INVALID_REPLICATION`,
    /// `INVALID_CONFIG`.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicDescription> {
        let call = changing(format!("create topic {:?}", topic.name));
        let is_real = !topic.validate_only;
        let request = topic.into_proto();
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).create_topic(request).await
            })
            .await?;
        let topic = described(answer.topic, &call)?;
        if is_real {
            self.shared.view.merge_topic(&topic);
        }
        Ok(TopicDescription::from_proto(topic))
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `TOPIC_PROTECTED`.
    pub async fn delete_topic(&self, name: &str) -> Result<TopicId> {
        let call = changing(format!("delete topic {name:?}"));
        let request = v1::DeleteTopicRequest { name: name.to_owned(), timeout_ms: 0 };
        let (answer, from) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).delete_topic(request).await
            })
            .await?;
        self.shared.view.forget_topic(name);
        TopicId::from_slice(&answer.topic_id)
            .ok_or_else(|| Error::stream_ended("call", &from, "the answer has no topic id"))
    }

    /// Changes a topic's configuration.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `INVALID_CONFIG`.
    pub async fn alter_topic(&self, change: TopicChange) -> Result<TopicDescription> {
        let call = changing(format!("change topic {:?}", change.name));
        let request = change.into_proto();
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).alter_topic(request).await
            })
            .await?;
        self.shared.view.want_refresh();
        Ok(TopicDescription::from_proto(described(answer.topic, &call)?))
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>> {
        let topics = self.describe(Vec::new(), Target::Any).await?;
        Ok(topics.into_iter().map(TopicDescription::from_proto).collect())
    }

    /// All topics as `node` knows them: bounds and sizes are those of its own replicas.
    ///
    /// # Errors
    /// When that node does not answer.
    pub async fn list_topics_at(&self, node: NodeId) -> Result<Vec<TopicDescription>> {
        let topics = self.describe(Vec::new(), Target::Only(node)).await?;
        Ok(topics.into_iter().map(TopicDescription::from_proto).collect())
    }

    /// One topic: partitions, leaders, configuration.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription> {
        let topics = self.describe(vec![name.to_owned()], Target::Any).await?;
        let mut topic = topics.into_iter().next().ok_or_else(|| {
            Error::local(ErrorCode::UnknownTopic, format!("topic {name:?} not found"))
        })?;
        match topic.error.take() {
            Some(error) => Err(Error::from_proto(error, "")),
            None => Ok(TopicDescription::from_proto(topic)),
        }
    }

    async fn describe(
        &self,
        names: Vec<String>,
        target: Target,
    ) -> Result<Vec<v1::TopicDescription>> {
        let call = reading("describe topics", target);
        let request = v1::DescribeTopicsRequest { names };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).describe_topics(request).await
            })
            .await?;
        Ok(answer.topics)
    }

    /// Removes the records below `before`, or all there are, and returns the new log start.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `OFFSET_OUT_OF_RANGE`.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: u32,
        before: Option<u64>,
    ) -> Result<u64> {
        // Twice is as once: the log start only grows, and "all" is what there was at the first.
        let action = format!("delete records of {topic}/{partition}");
        let call = Call { action, target: Target::Any, is_repeatable: before.is_some() };
        let target =
            v1::DeleteRecordsTarget { topic: topic.to_owned(), partition, before_offset: before };
        let request = v1::DeleteRecordsRequest { targets: vec![target], timeout_ms: 0 };
        let (answer, from) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).delete_records(request).await
            })
            .await?;
        let result = answer.results.into_iter().next();
        let result =
            result.ok_or_else(|| Error::stream_ended("call", &from, "the answer has no result"))?;
        match result.error {
            Some(error) => Err(Error::from_proto(error, &from)),
            None => Ok(result.log_start),
        }
    }

    /// Nodes, shards and health, as the node that answers sees them.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.describe_cluster_by(Target::Any).await
    }

    /// Nodes, shards and health, as `node` sees them.
    ///
    /// # Errors
    /// When that node does not answer.
    pub async fn describe_cluster_at(&self, node: NodeId) -> Result<ClusterDescription> {
        self.describe_cluster_by(Target::Only(node)).await
    }

    async fn describe_cluster_by(&self, target: Target) -> Result<ClusterDescription> {
        let call = reading("describe the cluster", target);
        let request = v1::DescribeClusterRequest::default();
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).describe(request).await
            })
            .await?;
        Ok(ClusterDescription::from_proto(answer))
    }

    /// Checksum over the records that `node` holds of a partition: equal on all replicas that
    /// have the same bounds.
    ///
    /// # Errors
    /// `WRONG_NODE` when the node has no replica of it.
    pub async fn partition_checksum(
        &self,
        node: NodeId,
        topic: &str,
        partition: u32,
    ) -> Result<PartitionChecksum> {
        let call = reading("checksum a partition", Target::Only(node));
        let request = v1::PartitionChecksumRequest { topic: topic.to_owned(), partition };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).partition_checksum(request).await
            })
            .await?;
        Ok(PartitionChecksum {
            node_id: answer.node_id,
            log_start: answer.log_start,
            high_watermark: answer.high_watermark,
            crc32c: answer.crc32c,
        })
    }

    /// How far the replica of a partition on `node` is, and what it receives.
    ///
    /// # Errors
    /// `WRONG_NODE` when the node has no replica of it.
    pub async fn describe_replica(
        &self,
        node: NodeId,
        topic: &str,
        partition: u32,
    ) -> Result<ReplicaDescription> {
        let call = reading("describe a replica", Target::Only(node));
        let request = v1::DescribeReplicaRequest { topic: topic.to_owned(), partition };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).describe_replica(request).await
            })
            .await?;
        Ok(ReplicaDescription::from_proto(answer))
    }

    /// Asks the leader of a shard to hand over to another node.
    ///
    /// # Errors
    /// When the shard has no leader, or the node cannot take over.
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<()> {
        let action = format!("transfer shard {shard} to node {to}");
        let call = Call { action, target: Target::Any, is_repeatable: true };
        let request = v1::TransferLeaderRequest { shard: shard.get(), to_node: to.get() };
        self.shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).transfer_leader(request).await
            })
            .await?;
        self.shared.view.want_refresh();
        Ok(())
    }

    /// Finds an offset in each of `partitions`, or in all when none is named. `None` stands where
    /// no record is at or after the time asked for.
    ///
    /// # Errors
    /// The first partition's that has no answer within the client's request timeout.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[u32],
        at: OffsetAt,
    ) -> Result<BTreeMap<u32, Option<OffsetFound>>> {
        let topic = self.shared.topic(topic).await?;
        let all: Vec<u32> = (0..topic.partitions()).collect();
        let chosen = if partitions.is_empty() { &all[..] } else { partitions };
        let queries: Vec<_> = chosen.iter().map(|partition| (*partition, at)).collect();
        let found = offsets::list(&self.shared, &topic, &queries).await?;
        Ok(chosen.iter().copied().zip(found).collect())
    }
}

fn changing(action: String) -> Call {
    Call { action, target: Target::Any, is_repeatable: false }
}

fn reading(action: &str, target: Target) -> Call {
    Call { action: action.to_owned(), target, is_repeatable: true }
}

fn described(topic: Option<v1::TopicDescription>, call: &Call) -> Result<v1::TopicDescription> {
    let absent = || Error::invalid(format!("{}: the answer has no description", call.action));
    let mut topic = topic.ok_or_else(absent)?;
    match topic.error.take() {
        Some(error) => Err(Error::from_proto(error, "")),
        None => Ok(topic),
    }
}

/// The wire's optional time.
fn timestamp(ms: Option<i64>) -> Option<TimestampMs> {
    ms.map(TimestampMs::new)
}
