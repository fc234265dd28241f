//! The standard gRPC health service, kept in line with the broker.

use std::time::Duration;

use quipu_broker::Broker;
use quipu_proto::v1::admin_server::AdminServer;
use quipu_proto::v1::cluster_server::ClusterServer;
use quipu_proto::v1::log_server::LogServer;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::services::{AdminService, ClusterService, LogService};
use tonic::server::NamedService;

/// Looks at the broker this often.
const INTERVAL: Duration = Duration::from_millis(500);

/// Publishes the broker's readiness, for each service and for the whole, until cancelled.
pub(super) async fn publish(broker: Broker, reporter: HealthReporter) {
    let services = [
        "",
        <LogServer<LogService> as NamedService>::NAME,
        <AdminServer<AdminService> as NamedService>::NAME,
        <ClusterServer<ClusterService> as NamedService>::NAME,
    ];
    loop {
        let status = match broker.ready_problems().is_empty() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in services {
            reporter.set_service_status(service, status).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
