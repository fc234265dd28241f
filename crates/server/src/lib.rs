//! A node: settings, start in order, shutdown in reverse, logs, metrics, health. No logic.
//!
//! - Tasks: the root of the task tree; everything else hangs below it.
//! - Invariants: a node that cannot go on ends with its reason and exit code 1; a second signal
//!   ends it at once; nothing is served before the journal is replayed.
//! - Start reading at [`startup`].

pub mod config;
mod descriptors;
mod disk_gauge;
mod http;
pub mod inspect;
mod opener;
mod progress;
mod service_manager;
mod shutdown;
mod signal;
pub mod startup;
pub mod telemetry;

use std::time::Duration;

use anyhow::{Context, bail};
use quipu_runtime::{Clock, Fatal, TaskGroup};

use config::Config;
use progress::StartProgress;

/// Runs a node until a signal or a fatal error ends it.
///
/// # Errors
/// Why it could not start, or could not go on.
pub fn run(config: Config) -> anyhow::Result<()> {
    run_until_ready(config, |elapsed| {
        tracing::info!(seconds = elapsed.as_secs_f64(), "ready");
    })
}

/// Runs a node; `on_ready` is called once, when clients can be served.
///
/// # Errors
/// As [`run`].
pub fn run_until_ready(
    config: Config,
    on_ready: impl FnOnce(Duration) + Send + 'static,
) -> anyhow::Result<()> {
    telemetry::start_logging(&config.log)?;
    if let Some(armed) = std::env::var_os(quipu_failpoint::VARIABLE) {
        tracing::warn!(?armed, "failpoints are armed: this node is for tests only");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.node.worker_threads)
        .thread_name("quipu")
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(node(config, on_ready));
    // Blocking work that is left must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn node(
    config: Config,
    on_ready: impl FnOnce(Duration) + Send + 'static,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let (fatal, mut reason) = Fatal::new();
    let tasks = TaskGroup::root("node", fatal);
    let mut signals = signal::Signals::new().context("listen for signals")?;
    let progress = StartProgress::new();
    let starting = startup::start(&config, &clock, &tasks, &progress);
    let node = tokio::select! {
        started = starting => started?,
        reason = reason.wait() => bail!("{reason}"),
        name = signals.wait() => {
            tracing::info!(signal = name, "stopped while starting");
            return Ok(());
        }
    };
    tokio::select! {
        ready = node.wait_ready() => ready?,
        reason = reason.wait() => bail!("{reason}"),
        name = signals.wait() => {
            tracing::info!(signal = name, "stopping");
            return shutdown::stop(node, &tasks).await;
        }
    }
    on_ready(clock.monotonic());
    tokio::select! {
        reason = reason.wait() => bail!("{reason}"),
        name = signals.wait() => tracing::info!(signal = name, "stopping"),
    }
    tokio::select! {
        stopped = shutdown::stop(node, &tasks) => stopped,
        name = signals.wait() => bail!("stopped at once by a second {name}"),
    }
}
