//! The generated service traits, each method one line to its file.

use futures::StreamExt;
use futures::stream::BoxStream;
use quipu_proto::v1;
use quipu_runtime::OnExit;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::call::answer;
use super::context::Context;
use super::fetch::{FetchAnswer, FetchPipeline};
use super::pipeline::{self, Pipeline};
use super::produce::ProducePipeline;
use super::{
    add_partitions, alter_topic, create_topic, delete_records, delete_topic, describe_cluster,
    describe_replica, describe_topics, init_producer, levels, list_offsets, metadata,
    move_partitions, nodes, partition_checksum, policies, transfer_leader,
};
use crate::config::STREAM_ANSWERS_MAX;
use crate::metrics::StreamCount;

/// `quipu.v1.Log`.
#[derive(Debug)]
pub(super) struct LogService(pub(super) Context);

/// `quipu.v1.Admin`.
#[derive(Debug)]
pub(super) struct AdminService(pub(super) Context);

/// `quipu.v1.Cluster`.
#[derive(Debug)]
pub(super) struct ClusterService(pub(super) Context);

/// Runs a stream in a task of its own; it ends with the stream.
fn start<P: Pipeline>(
    api: &'static str,
    context: &Context,
    pipeline: P,
    requests: Streaming<P::Request>,
) -> ReceiverStream<Result<P::Answer, Status>> {
    let (answers, receiver) = mpsc::channel(STREAM_ANSWERS_MAX);
    let stopping = context.tasks.token();
    context.tasks.spawn_graceful(api, OnExit::Log, async move {
        let _count = StreamCount::new(api);
        pipeline::run(pipeline, requests, answers, stopping).await;
    });
    ReceiverStream::new(receiver)
}

#[tonic::async_trait]
impl v1::log_server::Log for LogService {
    type ProduceStream = ReceiverStream<Result<v1::ProduceResponse, Status>>;
    type FetchStream = BoxStream<'static, Result<v1::FetchResponse, Status>>;

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let pipeline = ProducePipeline::new(self.0.clone());
        Ok(Response::new(start("produce", &self.0, pipeline, request.into_inner())))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let pipeline = FetchPipeline::new(self.0.clone());
        let answers = start("fetch", &self.0, pipeline, request.into_inner());
        let responses = answers.map(|answer| {
            answer.map(|FetchAnswer { response, permit }| {
                drop(permit);
                response
            })
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        answer("list_offsets", &self.0, request, list_offsets::handle).await
    }

    async fn init_producer(
        &self,
        request: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        answer("init_producer", &self.0, request, init_producer::handle).await
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        answer("create_topic", &self.0, request, create_topic::handle).await
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        answer("delete_topic", &self.0, request, delete_topic::handle).await
    }

    async fn alter_topic(
        &self,
        request: Request<v1::AlterTopicRequest>,
    ) -> Result<Response<v1::AlterTopicResponse>, Status> {
        answer("alter_topic", &self.0, request, alter_topic::handle).await
    }

    async fn add_partitions(
        &self,
        request: Request<v1::AddPartitionsRequest>,
    ) -> Result<Response<v1::AddPartitionsResponse>, Status> {
        answer("add_partitions", &self.0, request, add_partitions::handle).await
    }

    async fn move_partitions(
        &self,
        request: Request<v1::MovePartitionsRequest>,
    ) -> Result<Response<v1::MovePartitionsResponse>, Status> {
        answer("move_partitions", &self.0, request, move_partitions::handle).await
    }

    async fn describe_topics(
        &self,
        request: Request<v1::DescribeTopicsRequest>,
    ) -> Result<Response<v1::DescribeTopicsResponse>, Status> {
        answer("describe_topics", &self.0, request, describe_topics::handle).await
    }

    async fn delete_records(
        &self,
        request: Request<v1::DeleteRecordsRequest>,
    ) -> Result<Response<v1::DeleteRecordsResponse>, Status> {
        answer("delete_records", &self.0, request, delete_records::handle).await
    }

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::SetPolicyResponse>, Status> {
        answer("set_policy", &self.0, request, policies::set).await
    }

    async fn delete_policy(
        &self,
        request: Request<v1::DeletePolicyRequest>,
    ) -> Result<Response<v1::DeletePolicyResponse>, Status> {
        answer("delete_policy", &self.0, request, policies::delete).await
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        answer("list_policies", &self.0, request, policies::list).await
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for ClusterService {
    async fn metadata(
        &self,
        request: Request<v1::MetadataRequest>,
    ) -> Result<Response<v1::MetadataResponse>, Status> {
        answer("metadata", &self.0, request, metadata::handle).await
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        answer("describe_cluster", &self.0, request, describe_cluster::handle).await
    }

    async fn partition_checksum(
        &self,
        request: Request<v1::PartitionChecksumRequest>,
    ) -> Result<Response<v1::PartitionChecksumResponse>, Status> {
        answer("partition_checksum", &self.0, request, partition_checksum::handle).await
    }

    async fn describe_replica(
        &self,
        request: Request<v1::DescribeReplicaRequest>,
    ) -> Result<Response<v1::DescribeReplicaResponse>, Status> {
        answer("describe_replica", &self.0, request, describe_replica::handle).await
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        answer("transfer_leader", &self.0, request, transfer_leader::handle).await
    }

    async fn change_node(
        &self,
        request: Request<v1::ChangeNodeRequest>,
    ) -> Result<Response<v1::ChangeNodeResponse>, Status> {
        answer("change_node", &self.0, request, nodes::change).await
    }

    async fn move_replicas(
        &self,
        request: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        answer("move_replicas", &self.0, request, nodes::move_replicas).await
    }

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        answer("rebalance", &self.0, request, nodes::rebalance).await
    }

    async fn finalize_level(
        &self,
        request: Request<v1::FinalizeLevelRequest>,
    ) -> Result<Response<v1::FinalizeLevelResponse>, Status> {
        answer("finalize_level", &self.0, request, levels::finalize).await
    }
}
