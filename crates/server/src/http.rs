//! Metrics and health over HTTP, for Prometheus and for probes.

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, put};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use quipu_broker::Broker;
use quipu_listener::Connection;
use quipu_runtime::{OnExit, TaskGroup};
use tokio::net::TcpListener;

use crate::progress::StartProgress;
use crate::telemetry;

/// What the routes look at.
#[derive(Clone)]
pub(crate) struct Routes {
    /// Where metrics are rendered.
    pub(crate) metrics: PrometheusHandle,
    /// How far the start has come.
    pub(crate) progress: StartProgress,
}

/// Starts answering. Live from the first moment; the rest follows the start's progress.
///
/// # Errors
/// When the address is taken.
pub(crate) async fn serve(
    address: SocketAddr,
    routes: Routes,
    tasks: &TaskGroup,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on listeners.metrics {address}"))?;
    let upkeep = routes.metrics.clone();
    let mut app = Router::new();
    if quipu_failpoint::IS_BUILT_IN {
        // Tests arm the leader they see, without starting it anew.
        app = app.route("/failpoints", put(arm));
    }
    let app = app
        .route("/metrics", get(metrics_text))
        .route("/health/live", get(async || (StatusCode::OK, "live\n")))
        .route("/health/started", get(started))
        .route("/health/ready", get(ready))
        .route("/health/cluster", get(cluster))
        .with_state(routes);
    tasks.spawn("http", OnExit::StopNode, async move {
        if let Err(error) = axum::serve(Counted(listener), app).await {
            tracing::error!(%error, "metrics listener failed");
        }
    });
    tasks.spawn("metrics-upkeep", OnExit::StopNode, async move {
        loop {
            tokio::time::sleep(telemetry::UPKEEP_INTERVAL).await;
            upkeep.run_upkeep();
        }
    });
    Ok(())
}

/// A listener whose connections are counted.
struct Counted(TcpListener);

impl axum::serve::Listener for Counted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        (Connection::new(stream, "metrics"), address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn arm(words: String) -> Result<(), (StatusCode, String)> {
    quipu_failpoint::arm(&words).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

async fn metrics_text(State(routes): State<Routes>) -> impl IntoResponse {
    let process = telemetry::process::refresh();
    let broker = routes.progress.broker();
    if let Some(broker) = &broker {
        broker.refresh_metrics().await;
    }
    let page = routes.metrics.render() + &process;
    let text = match broker {
        Some(broker) => broker.without_gone_series(&page),
        None => page,
    };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn started(State(routes): State<Routes>) -> impl IntoResponse {
    answer(match routes.progress.broker() {
        Some(_) => Vec::new(),
        None => vec![routes.progress.phase()],
    })
}

async fn ready(State(routes): State<Routes>) -> impl IntoResponse {
    answer(problems(&routes, Broker::ready_problems))
}

async fn cluster(State(routes): State<Routes>) -> impl IntoResponse {
    answer(problems(&routes, Broker::cluster_problems))
}

fn problems(routes: &Routes, look: fn(&Broker) -> Vec<String>) -> Vec<String> {
    routes.progress.broker().map_or_else(|| vec![routes.progress.phase()], |broker| look(&broker))
}

/// 200 when nothing is wrong, else 503; the reasons either way.
fn answer(problems: Vec<String>) -> impl IntoResponse {
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ok": problems.is_empty(), "problems": problems })))
}
