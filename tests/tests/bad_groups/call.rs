//! Single calls about groups, each answered by the node that coordinates the group.

use quipu_proto::v1;
use quipu_proto::v1::groups_client::GroupsClient;
use tonic::transport::Channel;

use crate::bench::Bench;
use crate::refusal::{Answer, Reply, settle};
use crate::seat::Seat;

/// How long a server may try. Below the bound of a case.
const TIMEOUT_MS: u32 = 9_000;

/// Joins.
pub(crate) async fn join(bench: &Bench, request: v1::JoinRequest) -> Reply<Seat> {
    bench.ask(async |channel| Seat::take(channel, request.clone()).await).await
}

/// A commit of a member, or of none.
pub(crate) fn committing(
    group: &str,
    member: Option<(&str, u64)>,
    offsets: Vec<v1::CommitOffset>,
) -> v1::CommitOffsetsRequest {
    let (member_id, epoch) = member.unwrap_or_default();
    let (group, member_id) = (group.to_owned(), member_id.to_owned());
    v1::CommitOffsetsRequest { group, member_id, epoch, offsets, timeout_ms: TIMEOUT_MS }
}

/// Commits; gives each position its own result.
pub(crate) async fn commit_each(
    bench: &Bench,
    request: v1::CommitOffsetsRequest,
) -> Reply<Vec<Reply<v1::CommitResult>>> {
    let call = async |channel: Channel| {
        settle(GroupsClient::new(channel).commit_offsets(request.clone()).await)
    };
    let answer = bench.ask(call).await?;
    Ok(answer.results.into_iter().map(Answer::reply).collect())
}

/// Commits; the first position that is refused refuses it all.
pub(crate) async fn commit(bench: &Bench, request: v1::CommitOffsetsRequest) -> Reply<()> {
    commit_each(bench, request).await?.into_iter().try_for_each(|result| result.map(drop))
}

/// Reads positions.
pub(crate) async fn fetch(
    bench: &Bench,
    group: &str,
    partitions: Vec<v1::TopicPartitions>,
) -> Reply<v1::FetchOffsetsResponse> {
    let group = group.to_owned();
    let request = v1::FetchOffsetsRequest { group, partitions, timeout_ms: TIMEOUT_MS };
    let call = async |channel: Channel| {
        settle(GroupsClient::new(channel).fetch_offsets(request.clone()).await)
    };
    bench.ask(call).await
}

/// Describes.
pub(crate) async fn describe(bench: &Bench, group: &str) -> Reply<v1::DescribeGroupResponse> {
    let request = v1::DescribeGroupRequest { group: group.to_owned(), timeout_ms: TIMEOUT_MS };
    let call = async |channel: Channel| {
        settle(GroupsClient::new(channel).describe_group(request.clone()).await)
    };
    bench.ask(call).await
}

/// Sets positions by hand.
pub(crate) async fn reset(
    bench: &Bench,
    group: &str,
    offsets: Vec<v1::CommitOffset>,
    fence: bool,
) -> Reply<v1::ResetOffsetsResponse> {
    let group = group.to_owned();
    let request = v1::ResetOffsetsRequest { group, offsets, fence, timeout_ms: TIMEOUT_MS };
    let call = async |channel: Channel| {
        settle(GroupsClient::new(channel).reset_offsets(request.clone()).await)
    };
    bench.ask(call).await
}

/// Deletes.
pub(crate) async fn delete(bench: &Bench, group: &str) -> Reply<v1::DeleteGroupResponse> {
    let request = v1::DeleteGroupRequest { group: group.to_owned(), timeout_ms: TIMEOUT_MS };
    let call = async |channel: Channel| {
        settle(GroupsClient::new(channel).delete_group(request.clone()).await)
    };
    bench.ask(call).await
}
