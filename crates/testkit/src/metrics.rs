//! What nodes tell Prometheus.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Cluster, NodeProcess};

/// The whole answer of a node's `/metrics`.
///
/// # Errors
/// When the node does not answer.
pub async fn scrape(address: SocketAddr) -> Result<String> {
    get(address, "/metrics").await
}

/// The whole answer of a node to a GET, from the status line on.
///
/// # Errors
/// When the node does not answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The sum of a metric over all nodes, of the series that have all of some labels, each written
/// `name="value"`. Nothing is 0.
///
/// # Errors
/// When a node does not answer, or a value is not a number.
pub async fn sum(cluster: &Cluster, metric: &str, labels: &[&str]) -> Result<f64> {
    let mut sum = 0.0;
    for node in cluster.nodes() {
        sum += of(node, metric, labels).await?;
    }
    Ok(sum)
}

/// As [`sum`], of one node.
///
/// # Errors
/// As [`sum`].
pub async fn of(node: &NodeProcess, metric: &str, labels: &[&str]) -> Result<f64> {
    let page = scrape(node.metrics_address()).await;
    let page = page.with_context(|| format!("scrape node {}", node.id()))?;
    let mut sum = 0.0;
    for line in page.lines() {
        let is_it = line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label));
        if is_it {
            let value = line.rsplit(' ').next().context("a line has a value")?;
            sum += value.parse::<f64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(sum)
}
