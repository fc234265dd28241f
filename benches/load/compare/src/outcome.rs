//! What the load generator wrote, as far as reports need it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One run of the generator.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) is_open_loop: bool,
    pub(crate) started_unix_ms: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) is_drained: bool,
    pub(crate) is_read: bool,
    pub(crate) acked_not_read: u64,
    pub(crate) in_flight_most: u64,
    pub(crate) acked_per_second: f64,
    pub(crate) acked_mb_per_second: f64,
    pub(crate) publish: Summary,
    pub(crate) lag: Summary,
    pub(crate) groups: Vec<Read>,
    pub(crate) usage: Usage,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) series: Vec<Second>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) p9999_ms: f64,
    pub(crate) max_ms: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Read {
    pub(crate) read: u64,
    pub(crate) read_per_second: f64,
    pub(crate) read_mb_per_second: f64,
    pub(crate) duplicates: u64,
    pub(crate) caught_up_s: Option<f64>,
    pub(crate) end_to_end: Summary,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) server_cpu_s: f64,
    pub(crate) server_resident_bytes: u64,
    pub(crate) generator_cpu_s: f64,
    pub(crate) kernel_thread_cpu_s: f64,
    pub(crate) foreign_cpu_s: f64,
    pub(crate) foreign: Vec<Foreign>,
    pub(crate) steal_s: f64,
    pub(crate) idle_s: f64,
    pub(crate) disk: Option<Disk>,
    pub(crate) metrics: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Foreign {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_s: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) flushes: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Gap {
    pub(crate) partition: u32,
    pub(crate) from_ms: f64,
    pub(crate) ms: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) read: u64,
    pub(crate) publish_p99_ms: f64,
}

impl Outcome {
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("outcome.json");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Seconds of CPU the servers took for a gigabyte of payload, written and read.
    pub(crate) fn cpu_s_per_gb(&self) -> Option<f64> {
        let megabytes = self.acked_mb_per_second * self.usage.seconds;
        (megabytes > 0.0).then(|| self.usage.server_cpu_s / megabytes * 1e3)
    }

    /// Microseconds of CPU the servers took for a record.
    pub(crate) fn cpu_us_per_record(&self) -> Option<f64> {
        let records = self.acked_per_second * self.usage.seconds;
        (records > 0.0).then(|| self.usage.server_cpu_s / records * 1e6)
    }

    /// Records acknowledged for each flush of the disk.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a float")]
    pub(crate) fn acks_per_flush(&self) -> Option<f64> {
        let flushes = self.usage.disk.as_ref()?.flushes;
        (flushes > 0).then(|| self.acked_per_second * self.usage.seconds / flushes as f64)
    }
}
