//! Logs and metrics of the process.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::disk_gauge;

/// Upper bounds of latency histograms, in seconds.
const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Upper bounds of size and count histograms.
const SIZE_BUCKETS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];
/// Between two clean-ups of the recorder.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Starts logging to stderr. A second call in one process changes nothing.
///
/// # Errors
/// When the filter is not valid.
pub(crate) fn start_logging(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter {:?}", config.filter))?;
    let is_text = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if is_text {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    Ok(())
}

/// Installs the process's metrics recorder.
///
/// # Errors
/// When there is one already.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), LATENCY_BUCKETS)?
        .set_buckets(SIZE_BUCKETS)?
        .install_recorder()
        .context("install the metrics recorder")?;
    describe();
    metrics::gauge!("quipu_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Says what each metric of a node means.
pub fn describe() {
    metrics::describe_gauge!("quipu_build_info", "Version of the running binary; always 1.");
    process::describe();
    disk_gauge::describe();
    quipu_journal::describe_metrics();
    quipu_segment::describe();
    quipu_partition::describe();
    quipu_consensus::describe_metrics();
    quipu_shard::describe_metrics();
    quipu_metadata::describe_metrics();
    quipu_broker::describe_metrics();
    quipu_listener::describe_metrics();
}

fn suffix(text: &str) -> metrics_exporter_prometheus::Matcher {
    metrics_exporter_prometheus::Matcher::Suffix(text.to_owned())
}

/// What the kernel knows of this process, under the standard names.
pub(crate) mod process {
    use std::fs;

    use metrics::{Unit, describe_counter, describe_gauge, gauge};

    /// Bytes of a page, on every machine this runs on.
    const PAGE_BYTES: f64 = 4096.0;
    /// Clock ticks per second of `/proc`, fixed by Linux's interface.
    const TICKS: f64 = 100.0;
    const CPU: &str = "process_cpu_seconds_total";
    const CPU_ABOUT: &str = "CPU time of the process, user and system.";

    pub(super) fn describe() {
        describe_counter!(CPU, Unit::Seconds, CPU_ABOUT);
        describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use.");
        describe_gauge!("process_open_fds", Unit::Count, "Open file descriptors.");
        describe_gauge!("process_threads", Unit::Count, "Threads.");
        describe_gauge!(
            "process_start_time_seconds",
            Unit::Seconds,
            "When the process began, since 1970 UTC."
        );
    }

    /// Reads `/proc/self` into the gauges, and gives the one counter as text: the recorder's
    /// counters are whole numbers, and CPU time is counted in fractions of a second.
    pub(crate) fn refresh() -> String {
        let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return String::new() };
        // Fields are counted after the name, which may contain blanks.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        if let Some(threads) = number(17) {
            gauge!("process_threads").set(threads);
        }
        if let (Some(ticks), Some(boot)) = (number(19), boot_seconds()) {
            gauge!("process_start_time_seconds").set(boot + ticks / TICKS);
        }
        if let Some(pages) = number(21) {
            gauge!("process_resident_memory_bytes").set(pages * PAGE_BYTES);
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            let count = u32::try_from(fds.count()).unwrap_or(u32::MAX);
            gauge!("process_open_fds").set(f64::from(count));
        }
        let (user, system) = (number(11).unwrap_or_default(), number(12).unwrap_or_default());
        cpu_text((user + system) / TICKS)
    }

    fn cpu_text(seconds: f64) -> String {
        format!("# HELP {CPU} {CPU_ABOUT}\n# TYPE {CPU} counter\n{CPU} {seconds}\n")
    }

    /// When the machine started, in seconds since 1970.
    fn boot_seconds() -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
    }
}
