//! Consumer groups from outside: who reads what, how far, and setting it by hand. Field names are
//! those of the CLI's JSON.

use std::collections::BTreeMap;

use quipu_proto::v1;
use quipu_types::{NodeId, TopicId};
use serde::Serialize;

use super::{Admin, changing, reading};
use crate::call::{Call, Target};
use crate::client::groups_service;
use crate::consumer::TopicPartition;
use crate::{Error, Result};

mod describe;

pub use describe::{Group, GroupDescription, GroupMember, GroupPartition};

/// A position a group has stored.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// for (partition, stored) in client.admin().fetch_offsets("sms-service").await? {
///     println!("{partition}: {}", stored.offset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupOffset {
    /// The next record to read.
    pub offset: u64,
    /// The text that was stored with it.
    pub metadata: String,
    /// When, in milliseconds since 1970 UTC.
    pub committed_at_ms: i64,
}

impl Admin {
    /// All groups, by name. Every node is asked for those it coordinates; one that cannot be
    /// reached is left out, for others coordinate its groups then.
    ///
    /// # Errors
    /// When no node answers, or one refuses.
    pub async fn list_groups(&self) -> Result<Vec<Group>> {
        let nodes: Vec<NodeId> = self.shared.view.load().nodes.keys().copied().collect();
        let asked = nodes.into_iter().map(|node| async move {
            let call = reading("list groups", Target::Only(node));
            let request = v1::ListGroupsRequest::default();
            let ask = |channel, request| async move {
                groups_service(channel).list_groups(request).await
            };
            self.shared.once(&call, request, ask).await
        });
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let (mut unreachable, mut has_answer) = (None, false);
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok((answer, _)) => {
                    has_answer = true;
                    for group in answer.groups.into_iter().map(Group::from_proto) {
                        let newer =
                            groups.get(&group.group).is_none_or(|it| it.epoch <= group.epoch);
                        if newer {
                            groups.insert(group.group.clone(), group);
                        }
                    }
                }
                Err(error) if error.is_unavailable() => unreachable = Some(error),
                Err(error) => return Err(error),
            }
        }
        match unreachable {
            Some(error) if !has_answer => Err(error),
            Some(_) | None => Ok(groups.into_values().collect()),
        }
    }

    /// Members, positions and lag of a group.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let call = reading("describe a group", Target::Any);
        let request = v1::DescribeGroupRequest { group: group.to_owned(), timeout_ms: 0 };
        let ask =
            |channel, request| async move { groups_service(channel).describe_group(request).await };
        let (answer, _) = self.shared.call(&call, request, ask).await?;
        Ok(GroupDescription::from_proto(answer))
    }

    /// The positions a group has stored, by partition. Those of topics that were deleted are left
    /// out.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`.
    pub async fn fetch_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, GroupOffset>> {
        let call = reading("read the positions of a group", Target::Any);
        let request = v1::FetchOffsetsRequest { group: group.to_owned(), ..Default::default() };
        let ask =
            |channel, request| async move { groups_service(channel).fetch_offsets(request).await };
        let (answer, _) = self.shared.call(&call, request, ask).await?;
        let ids = answer.offsets.iter().filter_map(|it| TopicId::from_slice(&it.topic_id));
        let names = self.names(ids.collect()).await?;
        let named = answer.offsets.into_iter().filter_map(|stored| {
            let name = names.get(&TopicId::from_slice(&stored.topic_id)?)?;
            let offset = GroupOffset {
                offset: stored.offset,
                metadata: stored.metadata,
                committed_at_ms: stored.committed_at_ms,
            };
            Some((TopicPartition::new(name.as_str(), stored.partition), offset))
        });
        Ok(named.collect())
    }

    /// Names of topics by their ids.
    async fn names(&self, ids: Vec<TopicId>) -> Result<BTreeMap<TopicId, String>> {
        let mut wire: Vec<TopicId> = ids;
        wire.sort_unstable();
        wire.dedup();
        if wire.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topic_ids = wire.iter().map(|id| id.to_bytes().to_vec().into()).collect();
        let call = reading("look up topics", Target::Any);
        let request = v1::MetadataRequest { topic_ids, ..Default::default() };
        let ask = |channel, request| async move {
            crate::client::cluster_service(channel).metadata(request).await
        };
        let (answer, _) = self.shared.call(&call, request, ask).await?;
        let known = answer.topics.into_iter().filter(|topic| topic.error.is_none());
        Ok(known.filter_map(|it| Some((TopicId::from_slice(&it.topic_id)?, it.name))).collect())
    }

    /// Stores positions for a group that has no members: topic, partition, next record to read.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY`, `INVALID_COMMIT`; the first partition's that was refused.
    pub async fn commit_offsets<T: Into<String>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (T, u32, u64)>,
    ) -> Result<()> {
        let action = format!("commit positions of group {group:?}");
        let call = Call { action, target: Target::Any, is_repeatable: true };
        let request = v1::CommitOffsetsRequest {
            group: group.to_owned(),
            offsets: self.with_ids(offsets).await?,
            ..Default::default()
        };
        let ask =
            |channel, request| async move { groups_service(channel).commit_offsets(request).await };
        let (answer, from) = self.shared.call(&call, request, ask).await?;
        match answer.results.into_iter().find_map(|result| result.error) {
            Some(error) => Err(Error::from_proto(error, &from)),
            None => Ok(()),
        }
    }

    /// Sets positions by hand: topic, partition, next record to read. With `fence` all members are
    /// removed first: they join again and go on from there. Without, the group must have none.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY`, `UNKNOWN_GROUP`, `INVALID_COMMIT`.
    pub async fn reset_offsets<T: Into<String>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (T, u32, u64)>,
        fence: bool,
    ) -> Result<()> {
        let call = changing(format!("reset positions of group {group:?}"));
        let offsets = self.with_ids(offsets).await?;
        let request =
            v1::ResetOffsetsRequest { group: group.to_owned(), offsets, fence, timeout_ms: 0 };
        let ask =
            |channel, request| async move { groups_service(channel).reset_offsets(request).await };
        self.shared.call(&call, request, ask).await.map(|_| ())
    }

    /// Deletes a group without members, and its positions.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY`, `UNKNOWN_GROUP`.
    pub async fn delete_group(&self, group: &str) -> Result<()> {
        let call = changing(format!("delete group {group:?}"));
        let request = v1::DeleteGroupRequest { group: group.to_owned(), timeout_ms: 0 };
        let ask =
            |channel, request| async move { groups_service(channel).delete_group(request).await };
        self.shared.call(&call, request, ask).await.map(|_| ())
    }

    async fn with_ids<T: Into<String>>(
        &self,
        offsets: impl IntoIterator<Item = (T, u32, u64)>,
    ) -> Result<Vec<v1::CommitOffset>> {
        let mut wire = Vec::new();
        for (topic, partition, offset) in offsets {
            let topic = self.shared.topic(&topic.into()).await?;
            wire.push(v1::CommitOffset {
                topic_id: topic.id.to_bytes().to_vec().into(),
                partition,
                offset,
                leader_epoch: -1,
                metadata: String::new(),
            });
        }
        Ok(wire)
    }
}
