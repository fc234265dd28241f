//! Topics for people.

use std::sync::Arc;

use quipu_metadata::{Origin, Setting, TopicRecord};
use quipu_runtime::Deadline;
use quipu_types::{Progress, ShardId};

use super::LookupError;
use crate::Broker;
use crate::cluster::PartitionView;

/// A topic with everything known of it.
#[derive(Clone, Debug)]
pub struct TopicDescription {
    /// The topic.
    pub topic: Arc<TopicRecord>,
    /// By index.
    pub partitions: Vec<PartitionDescription>,
    /// Every setting it lives by, with where it is from.
    pub config: Vec<(Setting, Origin)>,
}

/// A partition with everything known of it.
#[derive(Clone, Debug)]
pub struct PartitionDescription {
    /// Where it lives, and who leads.
    pub view: PartitionView,
    /// The shard it is on its way to, if it is.
    pub moving_to: Option<ShardId>,
    /// As this node's replica knows it; none where it has no replica.
    pub progress: Option<Progress>,
    /// Bytes of its segments here.
    pub size_bytes: Option<u64>,
}

impl Broker {
    /// Describes topics: those named, in their order, or all in order of name.
    pub async fn describe_topics(
        &self,
        names: &[String],
        deadline: Deadline,
    ) -> Vec<(String, Result<TopicDescription, LookupError>)> {
        if names.is_empty() {
            let image = self.image();
            let all = image.topics.values();
            return all
                .map(|topic| (topic.name.to_string(), Ok(self.describe_record(topic))))
                .collect();
        }
        let mut described = Vec::with_capacity(names.len());
        for name in names {
            let topic = self.topic_named(name, deadline).await;
            described.push((name.clone(), topic.map(|topic| self.describe_record(&topic))));
        }
        described
    }

    /// A topic with what this node knows of its partitions.
    pub(super) fn describe_record(&self, topic: &Arc<TopicRecord>) -> TopicDescription {
        let image = self.image();
        let views = self.topic_view(&image, topic).partitions;
        let partitions = topic.placed().zip(views).map(|((partition, shard), view)| {
            let own = self.own_view(partition, shard);
            let moving = topic.moves.get(&partition.index);
            PartitionDescription {
                view,
                moving_to: moving.map(|moving| moving.to),
                progress: own.map(|(progress, _)| progress),
                size_bytes: own.map(|(_, bytes)| bytes),
            }
        });
        let partitions = partitions.collect();
        let config = image.explained(topic);
        TopicDescription { topic: Arc::clone(topic), partitions, config }
    }
}
