//! What the coordinator tells about a group.

use quipu_proto::v1;
use serde::Serialize;

/// A group in a list.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// for group in client.admin().list_groups().await? {
///     println!("{} is {} with {} member(s)", group.group, group.state, group.members);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub group: String,
    /// `empty`, `stable` or `reconciling`.
    pub state: String,
    /// How many members it has.
    pub members: u32,
    /// Grows when members or assignments change.
    pub epoch: u64,
    /// How many positions it has stored.
    pub positions: u32,
}

/// A group in full.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// let group = client.admin().describe_group("sms-service").await?;
/// let lag: u64 = group.partitions.iter().filter_map(|partition| partition.lag).sum();
/// println!("{lag} event(s) behind");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupDescription {
    /// As in a list.
    #[serde(flatten)]
    pub summary: Group,
    /// The node that coordinates it.
    pub coordinator: u64,
    /// How partitions are spread.
    pub assignor: String,
    /// What changed it last, in words.
    pub last_change: String,
    /// When, in milliseconds since 1970 UTC.
    pub changed_at_ms: i64,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// All partitions it reads or has positions in.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
///
/// ```
/// fn is_late(member: &quipu_client::GroupMember) -> bool {
///     !member.is_connected || member.silent_ms.is_some_and(|silent| silent > 10_000)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupMember {
    /// Its id, made up by its client.
    pub member_id: String,
    /// Its static name; empty: none.
    pub instance_id: String,
    /// The name of its service.
    pub client: String,
    /// Where it is connected from.
    pub host: String,
    /// What it subscribed to by name.
    pub topics: Vec<String>,
    /// What it subscribed to by pattern.
    pub patterns: Vec<String>,
    /// What it reads: `fees/3`.
    pub assigned: Vec<String>,
    /// What it was told to let go and has not yet.
    pub revoking: Vec<String>,
    /// Its stream stands.
    pub is_connected: bool,
    /// Since its last heartbeat.
    pub silent_ms: Option<u64>,
    /// Until it is expired if it stays silent.
    pub expires_in_ms: Option<u64>,
}

/// How far a group is in one partition.
///
/// ```
/// fn is_stalled(partition: &quipu_client::GroupPartition) -> bool {
///     partition.owner.is_none() && partition.lag != Some(0)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPartition {
    /// The topic's name; empty when it was deleted.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The member that reads it.
    pub owner: Option<String>,
    /// The next record to read.
    pub committed: Option<u64>,
    /// When it was committed, in milliseconds since 1970 UTC.
    pub committed_at_ms: Option<i64>,
    /// First kept offset.
    pub log_start: Option<u64>,
    /// Next offset to be written.
    pub end: Option<u64>,
    /// Records from the position to the end.
    pub lag: Option<u64>,
    /// Age of the oldest record that is not read.
    pub lag_ms: Option<u64>,
}

impl Group {
    pub(super) fn from_proto(group: v1::GroupSummary) -> Self {
        let v1::GroupSummary { group, state, members, epoch, positions } = group;
        Self { group, state, members, epoch, positions }
    }
}

impl GroupDescription {
    pub(super) fn from_proto(group: v1::DescribeGroupResponse) -> Self {
        Self {
            summary: Group::from_proto(group.summary.unwrap_or_default()),
            coordinator: group.coordinator_node,
            assignor: group.assignor,
            last_change: group.last_change,
            changed_at_ms: group.changed_at_ms,
            members: group.members.into_iter().map(member).collect(),
            partitions: group.partitions.into_iter().map(partition).collect(),
        }
    }
}

fn member(member: v1::GroupMember) -> GroupMember {
    GroupMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client: member.client,
        host: member.host,
        topics: member.topics,
        patterns: member.patterns,
        assigned: names(&member.assigned),
        revoking: names(&member.revoking),
        is_connected: member.is_connected,
        silent_ms: member.silent_ms,
        expires_in_ms: member.expires_in_ms,
    }
}

fn names(topics: &[v1::TopicPartitions]) -> Vec<String> {
    let of = |it: &v1::TopicPartitions| -> Vec<String> {
        it.partitions.iter().map(|partition| format!("{}/{partition}", it.topic)).collect()
    };
    topics.iter().flat_map(of).collect()
}

fn partition(partition: v1::GroupPartition) -> GroupPartition {
    GroupPartition {
        topic: partition.topic,
        partition: partition.partition,
        owner: Some(partition.owner).filter(|owner| !owner.is_empty()),
        committed: partition.committed,
        committed_at_ms: partition.committed_at_ms,
        log_start: partition.log_start,
        end: partition.end,
        lag: partition.lag,
        lag_ms: partition.lag_ms,
    }
}
