//! Giving a topic more partitions.

use quipu_proto::v1;

use super::{Admin, TopicDescription, changing, described};
use crate::Result;
use crate::client::admin_service;

/// A topic that has as many partitions as it was asked to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrownTopic {
    /// As it is now, or would be.
    pub topic: TopicDescription,
    /// How many partitions it had.
    pub before: u32,
    /// False when it had as many as asked for.
    pub is_changed: bool,
}

impl Admin {
    /// Raises the number of partitions of `topic` to `total`, and waits until each new one has a
    /// leader that serves. A topic that has `total` already is left as it is.
    ///
    /// - Records stay where they are. Keys map to other partitions from now on, so that order per
    ///   key holds among the records published before, and among those published after.
    /// - Producers use the new partitions once their metadata is refreshed; groups read them from
    ///   their beginning.
    /// - There is no way back: a topic never has fewer partitions.
    ///
    /// ```no_run
    /// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
    /// let grown = client.admin().add_partitions("fees", 12).await?;
    /// println!("{} -> {} partitions", grown.before, grown.topic.partitions.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`; `INVALID_PARTITIONS` for fewer than there are, or more than may be.
    pub async fn add_partitions(&self, topic: &str, total: u32) -> Result<GrownTopic> {
        let call = format!("add partitions to topic {topic:?}");
        let (grown, described) = self.grow(call, topic, total, false).await?;
        self.shared.view.merge_topic(&described);
        Ok(grown)
    }

    /// What [`Self::add_partitions`] would do, as far as the answering node knows.
    ///
    /// # Errors
    /// As [`Self::add_partitions`].
    pub async fn preview_add_partitions(&self, topic: &str, total: u32) -> Result<GrownTopic> {
        let call = format!("preview more partitions of topic {topic:?}");
        Ok(self.grow(call, topic, total, true).await?.0)
    }

    async fn grow(
        &self,
        action: String,
        topic: &str,
        total: u32,
        validate_only: bool,
    ) -> Result<(GrownTopic, v1::TopicDescription)> {
        let call = changing(action);
        let name = topic.to_owned();
        let request = v1::AddPartitionsRequest { name, total, validate_only, timeout_ms: 0 };
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                admin_service(channel).add_partitions(request).await
            })
            .await?;
        let topic = described(answer.topic, &call)?;
        let grown = GrownTopic {
            topic: TopicDescription::from_proto(topic.clone()),
            before: answer.partitions_before,
            is_changed: answer.is_changed,
        };
        Ok((grown, topic))
    }
}
