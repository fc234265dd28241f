//! The listener itself: limits of connections, services, the end.

use futures::StreamExt;
use quipu_broker::Broker;
use quipu_proto::v1::admin_server::AdminServer;
use quipu_proto::v1::cluster_server::ClusterServer;
use quipu_proto::v1::groups_server::GroupsServer;
use quipu_proto::v1::log_server::LogServer;
use quipu_runtime::{OnExit, TaskGroup};
use quipu_types::limits;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use super::connection::Connection;
use super::context::Context;
use super::groups::GroupsService;
use super::health;
use super::memory::RequestMemory;
use super::services::{AdminService, ClusterService, LogService};
use crate::config::{
    ADMIN_MESSAGE_BYTES_MAX, CONNECTION_STREAMS_MAX, CONNECTION_WINDOW_BYTES, Config,
    FRAME_BYTES_MAX, HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    PENDING_RESETS_MAX, STREAM_WINDOW_BYTES,
};

/// Why the listener cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors of our own protocol cannot be read.
    #[error("build the reflection service: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves clients on `listener` until `tasks` are cancelled: then no further connection, stream or
/// request is taken, and what is under way is answered.
///
/// Returns once the server's tasks are started.
///
/// # Errors
/// [`ServeError`]: a defect of the build.
pub fn serve(
    listener: TcpListener,
    broker: Broker,
    config: Config,
    tasks: &TaskGroup,
) -> Result<(), ServeError> {
    let tasks = tasks.child("listener");
    let context = Context {
        broker: broker.clone(),
        memory: RequestMemory::new(config.request_memory_bytes),
        tasks: tasks.child("streams"),
    };
    let reporter = HealthReporter::new();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(quipu_proto::DESCRIPTORS)
        .build_v1()?;
    let router = builder()
        .add_service(
            LogServer::new(LogService(context.clone()))
                .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX),
        )
        .add_service(
            AdminServer::new(AdminService(context.clone()))
                .max_decoding_message_size(ADMIN_MESSAGE_BYTES_MAX),
        )
        .add_service(
            GroupsServer::new(GroupsService(context.clone()))
                .max_decoding_message_size(ADMIN_MESSAGE_BYTES_MAX),
        )
        .add_service(
            ClusterServer::new(ClusterService(context))
                .max_decoding_message_size(ADMIN_MESSAGE_BYTES_MAX),
        )
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(reporter.clone()),
        ))
        .add_service(reflection);
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE_INTERVAL))
        .map(|accepted| accepted.map(|stream| Connection::new(stream, "client")));
    let token = tasks.token();
    tasks.spawn("health", OnExit::StopNode, health::publish(broker, reporter));
    tasks.spawn_graceful("server", OnExit::StopNode, async move {
        let stopped = token.cancelled_owned();
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
            tracing::error!(%error, "the client listener failed");
        }
    });
    Ok(())
}

fn builder() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
