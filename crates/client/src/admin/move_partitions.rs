//! Moving partitions of a topic to other shards.

use std::collections::{BTreeMap, HashMap};

use quipu_proto::v1;
use quipu_types::ShardId;

use super::{Admin, TopicDescription, described};
use crate::Result;
use crate::call::{Call, Target};
use crate::client::admin_service;

impl Admin {
    /// Begins to move partitions of `topic`, by index, to other shards with as many replicas;
    /// returns the topic as it is then. While they move they are written and read as ever, but for
    /// a moment at the end, in which clients wait.
    ///
    /// Moving a partition to the shard it has calls its move off.
    ///
    /// ```no_run
    /// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
    /// use quipu_client::ShardId;
    ///
    /// let to = [(0, ShardId::new(5))].into();
    /// let topic = client.admin().move_partitions("fees", &to).await?;
    /// assert_eq!(topic.partitions[0].moving_to, Some(5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `UNKNOWN_SHARD`; `INVALID_PLACEMENT` for a shard with
    /// another number of replicas.
    pub async fn move_partitions(
        &self,
        topic: &str,
        to: &BTreeMap<u32, ShardId>,
    ) -> Result<TopicDescription> {
        let to_shards: HashMap<u32, u32> =
            to.iter().map(|(index, shard)| (*index, shard.get())).collect();
        let request = v1::MovePartitionsRequest { to_shards, ..<_>::default() };
        self.relocate(format!("move partitions of topic {topic:?}"), topic, request).await
    }

    /// Gives `topic` another number of replicas: its partitions begin to move to shards that have
    /// as many. Returns the topic as it is then.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`; `INVALID_REPLICATION` for more than there are nodes; `INVALID_CONFIG` for
    /// fewer than its min-insync.
    pub async fn set_replication(&self, topic: &str, replicas: u32) -> Result<TopicDescription> {
        let request = v1::MovePartitionsRequest { replication: Some(replicas), ..<_>::default() };
        self.relocate(format!("set the replication of topic {topic:?}"), topic, request).await
    }

    /// What [`Self::set_replication`] would do, as far as the answering node knows.
    ///
    /// # Errors
    /// As [`Self::set_replication`].
    pub async fn preview_set_replication(
        &self,
        topic: &str,
        replicas: u32,
    ) -> Result<TopicDescription> {
        let replication = Some(replicas);
        let request =
            v1::MovePartitionsRequest { replication, validate_only: true, ..<_>::default() };
        self.relocate(format!("preview the replication of topic {topic:?}"), topic, request).await
    }

    async fn relocate(
        &self,
        action: String,
        topic: &str,
        request: v1::MovePartitionsRequest,
    ) -> Result<TopicDescription> {
        let call = Call { action, target: Target::Any, is_repeatable: true };
        let request = v1::MovePartitionsRequest { name: topic.to_owned(), ..request };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).move_partitions(request).await
            })
            .await?;
        Ok(TopicDescription::from_proto(described(answer.topic, &call)?))
    }
}
