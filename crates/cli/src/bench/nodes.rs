//! What the nodes spent: CPU time, flushes, bundles, from their metrics.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sums over all nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    nodes: usize,
    cpu_ms: f64,
    flushes: f64,
    journal_bytes: f64,
    bundles: f64,
    batches: f64,
}

impl Counters {
    /// What came since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            nodes: self.nodes,
            cpu_ms: self.cpu_ms - before.cpu_ms,
            flushes: self.flushes - before.flushes,
            journal_bytes: self.journal_bytes - before.journal_bytes,
            bundles: self.bundles - before.bundles,
            batches: self.batches - before.batches,
        }
    }

    /// The figures that steer (PERFORMANCE: K is CPU per replicated batch).
    pub(super) fn document(self, payload_bytes: f64, seconds: f64) -> serde_json::Value {
        let per = |value: f64, count: f64| if count > 0.0 { value / count } else { 0.0 };
        serde_json::json!({
            "cpu_seconds": self.cpu_ms / 1e3,
            "cpu_seconds_per_gb": per(self.cpu_ms / 1e3, payload_bytes / 1e9),
            "flushes_per_second_and_node": self.flushes / seconds / self.nodes as f64,
            "bytes_per_flush": per(self.journal_bytes, self.flushes),
            "bundles_per_second": self.bundles / seconds,
            "batches_per_bundle": per(self.batches, self.bundles),
            "cpu_us_per_batch": per(self.cpu_ms * 1e3, self.batches),
            "cpu_us_per_bundle": per(self.cpu_ms * 1e3, self.bundles),
        })
    }
}

/// The metrics addresses: as given, else those of the local cluster in `.quipu`, else none.
pub(super) fn addresses(given: Option<&str>) -> anyhow::Result<Vec<String>> {
    if let Some(list) = given {
        return Ok(list.split(',').map(|address| address.trim().to_owned()).collect());
    }
    let Ok(text) = std::fs::read(Path::new(".quipu/cluster.json")) else {
        return Ok(Vec::new());
    };
    let layout: serde_json::Value = serde_json::from_slice(&text)?;
    let nodes = layout["nodes"].as_array().context("cluster.json has no nodes")?;
    Ok(nodes.iter().filter_map(|node| node["metrics"].as_str().map(str::to_owned)).collect())
}

/// Reads every node's counters.
pub(super) async fn read(addresses: &[String]) -> anyhow::Result<Counters> {
    let mut total = Counters {
        nodes: addresses.len(),
        cpu_ms: 0.0,
        flushes: 0.0,
        journal_bytes: 0.0,
        bundles: 0.0,
        batches: 0.0,
    };
    for address in addresses {
        let page = get(address).await.with_context(|| format!("read metrics of {address}"))?;
        total.cpu_ms += sum(&page, "process_cpu_seconds_total") * 1_000.0;
        total.flushes += sum(&page, "quipu_journal_flushes_total");
        total.journal_bytes += sum(&page, "quipu_journal_bytes_total");
        total.bundles += sum(&page, "quipu_shard_bundles_total");
        total.batches += sum(&page, "quipu_shard_bundle_commands_sum");
    }
    Ok(total)
}

async fn get(address: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    ensure!(head.contains(" 200 "), "{}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

/// The sum of a metric over its label sets.
fn sum(page: &str, name: &str) -> f64 {
    page.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let page =
            "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 100\n";
        assert!((sum(page, "a_total") - 5.0).abs() < 1e-9);
    }
}
