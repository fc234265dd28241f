//! `quipu.v1.Groups`: members are in `join`, everything else here.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_broker::coordinator::{
    CommitCommand, CommitPosition, DescribedGroup, DescribedMember, DescribedPartition,
    GroupSummary, Refusal as GroupRefusal, StoredOffset,
};
use quipu_broker::{OperationError, coordinator::GroupError};
use quipu_proto::v1;
use quipu_types::{LeaderEpoch, PartitionId, TopicId, TopicName, limits};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::call::{Answer, answer};
use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, join, validate};

/// The service.
#[derive(Debug)]
pub(super) struct GroupsService(pub(super) Context);

impl Answer for v1::CommitOffsetsResponse {
    fn error(&self) -> Option<&v1::Error> {
        let of_results = self.results.iter().find_map(|result| result.error.as_ref());
        self.error.as_ref().or(of_results)
    }
}

#[tonic::async_trait]
impl v1::groups_server::Groups for GroupsService {
    type JoinStream = ReceiverStream<Result<v1::JoinResponse, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        Ok(Response::new(join::start(&self.0, request)))
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        answer("commit_offsets", &self.0, request, commit_offsets).await
    }

    async fn fetch_offsets(
        &self,
        request: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        answer("fetch_offsets", &self.0, request, fetch_offsets).await
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        answer("list_groups", &self.0, request, list_groups).await
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        answer("describe_group", &self.0, request, describe_group).await
    }

    async fn reset_offsets(
        &self,
        request: Request<v1::ResetOffsetsRequest>,
    ) -> Result<Response<v1::ResetOffsetsResponse>, Status> {
        answer("reset_offsets", &self.0, request, reset_offsets).await
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        answer("delete_group", &self.0, request, delete_group).await
    }
}

async fn commit_offsets(
    context: Context,
    request: v1::CommitOffsetsRequest,
) -> Result<v1::CommitOffsetsResponse, Refusal> {
    let positions = positions(&request.offsets)?;
    let deadline = context.deadline(request.timeout_ms);
    let member = (!request.member_id.is_empty()).then_some((request.member_id, request.epoch));
    let command = CommitCommand { group: request.group, member, positions };
    let committed = context.broker.commit_offsets(command, deadline).await;
    Ok(match committed {
        Ok(results) => {
            let results = request.offsets.into_iter().zip(results);
            let results = results.map(|(offset, result)| v1::CommitResult {
                topic_id: offset.topic_id,
                partition: offset.partition,
                error: result.err().map(refused),
            });
            v1::CommitOffsetsResponse { results: results.collect(), error: None }
        }
        Err(error) => {
            v1::CommitOffsetsResponse { results: Vec::new(), error: Some(error_map::error(&error)) }
        }
    })
}

fn refused(refusal: GroupRefusal) -> v1::Error {
    error_map::error(&GroupError::Refused(refusal))
}

pub(super) fn positions(offsets: &[v1::CommitOffset]) -> Result<Vec<CommitPosition>, Refusal> {
    validate::count(offsets.len(), "offsets")?;
    let checked = offsets.iter().enumerate().map(|(at, offset)| {
        let topic = validate::topic_id(&offset.topic_id, || format!("offsets[{at}].topic_id"))?;
        Ok(CommitPosition {
            partition: PartitionId::new(topic, validate::partition(offset.partition)),
            offset: offset.offset,
            leader_epoch: LeaderEpoch::new(offset.leader_epoch),
            metadata: offset.metadata.clone(),
        })
    });
    checked.collect()
}

async fn fetch_offsets(
    context: Context,
    request: v1::FetchOffsetsRequest,
) -> Result<v1::FetchOffsetsResponse, Refusal> {
    let partitions = partitions(&request.partitions, "partitions", limits::REQUEST_PARTITIONS_MAX)?;
    let deadline = context.deadline(request.timeout_ms);
    let asked = (!request.partitions.is_empty()).then_some(partitions.as_slice());
    let stored = context.broker.fetch_offsets(&request.group, asked, deadline).await;
    Ok(match stored {
        Ok(stored) => {
            let offsets = stored.into_iter().map(stored_offset).collect();
            v1::FetchOffsetsResponse { offsets, error: None }
        }
        Err(error) => {
            let error = Some(error_map::error(&error));
            v1::FetchOffsetsResponse { offsets: Vec::new(), error }
        }
    })
}

fn stored_offset(stored: StoredOffset) -> v1::StoredOffset {
    let StoredOffset { partition, committed } = stored;
    v1::StoredOffset {
        topic_id: topic_bytes(partition.topic),
        partition: partition.index.get(),
        offset: committed.offset.get(),
        leader_epoch: committed.leader_epoch.get(),
        metadata: committed.metadata,
        committed_at_ms: committed.committed_at.get(),
    }
}

async fn list_groups(
    context: Context,
    _: v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Refusal> {
    let (groups, shards) = context.broker.list_groups();
    Ok(v1::ListGroupsResponse {
        groups: groups.iter().map(summary).collect(),
        shards: shards.into_iter().map(quipu_types::ShardId::get).collect(),
        error: None,
    })
}

fn summary(summary: &GroupSummary) -> v1::GroupSummary {
    let count = |found: usize| u32::try_from(found).unwrap_or(u32::MAX);
    v1::GroupSummary {
        group: summary.name.as_str().to_owned(),
        state: summary.state.to_owned(),
        members: count(summary.members),
        epoch: summary.epoch,
        positions: count(summary.positions),
    }
}

async fn describe_group(
    context: Context,
    request: v1::DescribeGroupRequest,
) -> Result<v1::DescribeGroupResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    Ok(match context.broker.describe_group(&request.group, deadline).await {
        Ok(group) => described(group),
        Err(error) => v1::DescribeGroupResponse {
            error: Some(error_map::error(&error)),
            ..v1::DescribeGroupResponse::default()
        },
    })
}

fn described(group: DescribedGroup) -> v1::DescribeGroupResponse {
    let named =
        group.partitions.iter().filter_map(|it| Some((it.partition.topic, it.topic.clone()?)));
    let names: BTreeMap<TopicId, TopicName> = named.collect();
    v1::DescribeGroupResponse {
        summary: Some(summary(&group.summary)),
        coordinator_node: group.coordinator.get(),
        assignor: group.assignor.to_owned(),
        last_change: group.last_change,
        changed_at_ms: group.changed_at.get(),
        members: group.members.into_iter().map(|it| member(it, &names)).collect(),
        partitions: group.partitions.into_iter().map(partition).collect(),
        error: None,
    }
}

fn member(described: DescribedMember, names: &BTreeMap<TopicId, TopicName>) -> v1::GroupMember {
    let name =
        |topic: &TopicId| names.get(topic).map(|name| name.as_str().to_owned()).unwrap_or_default();
    let DescribedMember { member, assigned, revoking, is_connected, silent, expires_in } =
        described;
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    v1::GroupMember {
        member_id: member.id().to_string(),
        instance_id: member.instance().cloned().unwrap_or_default(),
        client: member.client().to_owned(),
        host: member.host().to_owned(),
        topics: member.topics().iter().map(|name| name.as_str().to_owned()).collect(),
        patterns: member.patterns().to_vec(),
        assigned: by_topic(&assigned, name),
        revoking: by_topic(&revoking, name),
        is_connected,
        silent_ms: silent.map(ms),
        expires_in_ms: expires_in.map(ms),
    }
}

fn partition(described: DescribedPartition) -> v1::GroupPartition {
    let topic = described.topic.map(|name| name.as_str().to_owned());
    v1::GroupPartition {
        topic_id: topic_bytes(described.partition.topic),
        topic: topic.unwrap_or_default(),
        partition: described.partition.index.get(),
        owner: described.owner.map(|owner| owner.to_string()).unwrap_or_default(),
        committed: described.committed.map(|(offset, _)| offset.get()),
        committed_at_ms: described.committed.map(|(_, at)| at.get()),
        log_start: described.bounds.map(|(start, _)| start.get()),
        end: described.bounds.map(|(_, end)| end.get()),
        lag: described.lag,
        lag_ms: described.lag_ms,
    }
}

async fn reset_offsets(
    context: Context,
    request: v1::ResetOffsetsRequest,
) -> Result<v1::ResetOffsetsResponse, Refusal> {
    let positions = positions(&request.offsets)?;
    let deadline = context.deadline(request.timeout_ms);
    let (group, fence) = (request.group, request.fence);
    let reset = context.broker.reset_offsets(&group, &positions, fence, deadline).await;
    Ok(v1::ResetOffsetsResponse { error: reset.err().map(|error| error_map::error(&error)) })
}

async fn delete_group(
    context: Context,
    request: v1::DeleteGroupRequest,
) -> Result<v1::DeleteGroupResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let deleted = context.broker.delete_group(&request.group, deadline).await;
    Ok(v1::DeleteGroupResponse { error: deleted.err().map(|error| error_map::error(&error)) })
}

pub(super) fn topic_bytes(topic: TopicId) -> Bytes {
    Bytes::copy_from_slice(&topic.to_bytes())
}

/// Partitions by topic, with the names that `name` knows.
pub(super) fn by_topic(
    partitions: &[PartitionId],
    name: impl Fn(&TopicId) -> String,
) -> Vec<v1::TopicPartitions> {
    let mut topics: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic).or_default().push(partition.index.get());
    }
    let rows = topics.into_iter().map(|(topic, partitions)| v1::TopicPartitions {
        topic: name(&topic),
        topic_id: topic_bytes(topic),
        partitions,
    });
    rows.collect()
}

/// The partitions of a request, no more than it may name.
pub(super) fn partitions(
    topics: &[v1::TopicPartitions],
    field: &str,
    limit: usize,
) -> Result<Vec<PartitionId>, Refusal> {
    let count = topics.iter().map(|topic| topic.partitions.len()).sum();
    validate::at_most(count, limit, field)?;
    let mut found = Vec::with_capacity(count);
    for (at, topic) in topics.iter().enumerate() {
        let id = validate::topic_id(&topic.topic_id, || format!("{field}[{at}].topic_id"))?;
        let ids = topic.partitions.iter();
        found.extend(ids.map(|index| PartitionId::new(id, validate::partition(*index))));
    }
    Ok(found)
}

/// The last answer of a stream that ends with an error.
pub(super) fn last_answer(error: &impl OperationError) -> v1::JoinResponse {
    v1::JoinResponse { error: Some(error_map::error(error)), ..v1::JoinResponse::default() }
}
