//! A coordinator that assigns what the test says and notes what members say.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use quipu_client::ErrorCode;
use quipu_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::fake::{Answers, Cluster, Node, not_leader, refusal};

type Stream = mpsc::Sender<Result<v1::JoinResponse, Status>>;

pub(crate) struct Groups {
    /// The node that coordinates.
    pub(crate) coordinator: u64,
    pub(crate) epoch: u64,
    pub(crate) heartbeat_ms: u32,
    /// Partitions of `fees`.
    pub(crate) assigned: Vec<u32>,
    pub(crate) revoking: Vec<u32>,
    /// Every request with the node that got it.
    pub(crate) requests: Vec<(u64, v1::JoinRequest)>,
    /// What the member said last that it holds.
    pub(crate) held: Vec<u32>,
    /// Requests are taken and not answered.
    pub(crate) is_silent: bool,
    /// The next request is answered so.
    pub(crate) refuse: Option<ErrorCode>,
    pub(crate) stored: BTreeMap<u32, u64>,
    /// Epoch, and positions by partition.
    pub(crate) commits: Vec<(u64, BTreeMap<u32, u64>)>,
    /// Partitions whose commits are refused.
    pub(crate) stale: BTreeSet<u32>,
    /// What was asked beside: resets, deletions.
    pub(crate) calls: Vec<String>,
    stream: Option<Stream>,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            coordinator: 1,
            epoch: 0,
            heartbeat_ms: 20,
            assigned: vec![0],
            revoking: Vec::new(),
            requests: Vec::new(),
            held: Vec::new(),
            is_silent: false,
            refuse: None,
            stored: BTreeMap::new(),
            commits: Vec::new(),
            stale: BTreeSet::new(),
            calls: Vec::new(),
            stream: None,
        }
    }

    /// How often the member joined anew.
    pub(crate) fn joins(&self) -> usize {
        self.requests.iter().filter(|(_, it)| !it.group.is_empty() && it.epoch == 0).count()
    }

    /// The first requests of streams.
    pub(crate) fn firsts(&self) -> Vec<(u64, v1::JoinRequest)> {
        self.requests.iter().filter(|(_, it)| !it.group.is_empty()).cloned().collect()
    }

    pub(crate) fn left(&self) -> Option<v1::Leaving> {
        let mut leaving = self.requests.iter().map(|(_, it)| it.leaving());
        leaving.find(|leaving| *leaving != v1::Leaving::Unspecified)
    }

    fn assignment(&self) -> v1::Assignment {
        let of = |partitions: &[u32]| v1::TopicPartitions {
            topic_id: vec![7; 16].into(),
            topic: "fees".to_owned(),
            partitions: partitions.to_vec(),
        };
        v1::Assignment { assigned: vec![of(&self.assigned)], revoking: vec![of(&self.revoking)] }
    }

    fn news(&self) -> v1::JoinResponse {
        v1::JoinResponse {
            epoch: self.epoch,
            heartbeat_interval_ms: self.heartbeat_ms,
            assignment: Some(self.assignment()),
            error: None,
        }
    }

    /// The answer to a request; `None`: none.
    fn answer(&mut self, node: u64, request: &v1::JoinRequest) -> Option<v1::JoinResponse> {
        self.requests.push((node, request.clone()));
        if self.is_silent {
            return None;
        }
        let refused = |error| v1::JoinResponse { error: Some(error), ..Default::default() };
        if node != self.coordinator {
            return Some(refused(not_leader(Some(self.coordinator))));
        }
        if let Some(code) = self.refuse.take() {
            return Some(refused(refusal(code)));
        }
        if let Some(held) = &request.held {
            let partitions = held.partitions.iter().flat_map(|topic| topic.partitions.clone());
            self.held = partitions.collect();
        }
        let is_first = !request.group.is_empty();
        if is_first && request.epoch == 0 {
            self.epoch += 1;
        }
        let assignment = is_first.then(|| self.assignment());
        Some(v1::JoinResponse { assignment, ..self.news() })
    }
}

impl Cluster {
    /// Assigns and revokes, and tells the member at once.
    pub(crate) async fn assign(&self, assigned: &[u32], revoking: &[u32]) {
        let (stream, news) = {
            let mut state = self.lock();
            let groups = &mut state.groups;
            (groups.assigned, groups.revoking) = (assigned.to_vec(), revoking.to_vec());
            groups.epoch += 1;
            (groups.stream.clone(), groups.news())
        };
        if let Some(stream) = stream {
            // A member whose stream broke hears it on the next.
            let _ = stream.send(Ok(news)).await;
        }
    }

    /// Ends the member's stream.
    pub(crate) async fn break_join(&self) {
        let stream = self.lock().groups.stream.take();
        stream.unwrap().send(Err(Status::unavailable("told to break"))).await.unwrap();
    }

    /// Waits until the group has this position.
    pub(crate) async fn until_stored(&self, partition: u32, position: u64) {
        let what = format!("position {position} of partition {partition}");
        self.until(&what, |it| it.groups.stored.get(&partition) == Some(&position)).await;
    }

    async fn serve(self, node: u64, mut requests: Streaming<v1::JoinRequest>, stream: Stream) {
        while let Some(Ok(request)) = requests.next().await {
            let answer = {
                let mut state = self.lock();
                if !request.group.is_empty() && node == state.groups.coordinator {
                    state.groups.stream = Some(stream.clone());
                }
                state.groups.answer(node, &request)
            };
            let is_last = request.leaving() != v1::Leaving::Unspecified
                || answer.as_ref().is_some_and(|answer| answer.error.is_some());
            if let Some(answer) = answer
                && stream.send(Ok(answer)).await.is_err()
            {
                return;
            }
            if is_last {
                self.lock().groups.stream = None;
            }
            self.changed.notify_waiters();
            if is_last {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl v1::groups_server::Groups for Node {
    type JoinStream = Answers<v1::JoinResponse>;

    #[expect(clippy::disallowed_methods, reason = "a test's task ends with its runtime")]
    async fn join(
        &self,
        request: Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        tokio::spawn(self.cluster.clone().serve(self.id, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.cluster.lock();
        let groups = &mut state.groups;
        if self.id != groups.coordinator {
            let error = Some(not_leader(Some(groups.coordinator)));
            return Ok(Response::new(v1::CommitOffsetsResponse { results: vec![], error }));
        }
        let mut taken = BTreeMap::new();
        let results = request.offsets.iter().map(|commit| {
            let is_stale = groups.stale.contains(&commit.partition);
            if !is_stale {
                taken.insert(commit.partition, commit.offset);
            }
            v1::CommitResult {
                topic_id: commit.topic_id.clone(),
                partition: commit.partition,
                error: is_stale.then(|| refusal(ErrorCode::StaleMemberEpoch)),
            }
        });
        let results = results.collect();
        groups.stored.extend(taken.clone());
        groups.commits.push((request.epoch, taken));
        drop(state);
        self.cluster.changed.notify_waiters();
        Ok(Response::new(v1::CommitOffsetsResponse { results, error: None }))
    }

    async fn fetch_offsets(
        &self,
        _: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        let state = self.cluster.lock();
        let groups = &state.groups;
        if self.id != groups.coordinator {
            let error = Some(not_leader(Some(groups.coordinator)));
            return Ok(Response::new(v1::FetchOffsetsResponse { offsets: vec![], error }));
        }
        let offsets = groups.stored.iter().map(|(partition, offset)| v1::StoredOffset {
            topic_id: vec![7; 16].into(),
            partition: *partition,
            offset: *offset,
            leader_epoch: -1,
            metadata: String::new(),
            committed_at_ms: 5,
        });
        let offsets = offsets.collect();
        Ok(Response::new(v1::FetchOffsetsResponse { offsets, error: None }))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let summary = v1::GroupSummary {
            group: format!("group-{}", self.id),
            state: "empty".to_owned(),
            ..Default::default()
        };
        let groups = vec![summary];
        Ok(Response::new(v1::ListGroupsResponse { groups, shards: vec![], error: None }))
    }

    async fn describe_group(
        &self,
        _: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        let error = Some(refusal(ErrorCode::UnknownGroup));
        Ok(Response::new(v1::DescribeGroupResponse { error, ..Default::default() }))
    }

    async fn reset_offsets(
        &self,
        request: Request<v1::ResetOffsetsRequest>,
    ) -> Result<Response<v1::ResetOffsetsResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.cluster.lock();
        if self.id != state.groups.coordinator {
            let error = Some(not_leader(Some(state.groups.coordinator)));
            return Ok(Response::new(v1::ResetOffsetsResponse { error }));
        }
        for offset in &request.offsets {
            let call = format!("{} {} {}", offset.partition, offset.offset, request.fence);
            state.groups.calls.push(call);
        }
        Ok(Response::new(v1::ResetOffsetsResponse { error: None }))
    }

    async fn delete_group(
        &self,
        _: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        let error = Some(refusal(ErrorCode::GroupNotEmpty));
        Ok(Response::new(v1::DeleteGroupResponse { error }))
    }
}
