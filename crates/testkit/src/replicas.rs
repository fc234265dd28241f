//! Whether all replicas of a topic hold the same bytes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_proto::v1::cluster_client::ClusterClient;
use quipu_proto::v1::{PartitionChecksumRequest, PartitionChecksumResponse};

use crate::{Cluster, until};

/// How long replicas may take to catch up after a fault.
const CATCH_UP_WAIT: Duration = Duration::from_secs(60);

/// Waits until every replica of every partition has the same bounds and the same checksum.
///
/// # Errors
/// The difference that was left when the time was over.
pub async fn are_identical(cluster: &Cluster, topic: &str, partitions: u32) -> Result<()> {
    for partition in 0..partitions {
        until("identical replicas", CATCH_UP_WAIT, || compare(cluster, topic, partition)).await?;
    }
    Ok(())
}

async fn compare(cluster: &Cluster, topic: &str, partition: u32) -> Result<()> {
    let mut answers = Vec::new();
    for node in cluster.nodes() {
        let address = format!("http://{}", node.client_address());
        let request = PartitionChecksumRequest { topic: topic.to_owned(), partition };
        let mut client = ClusterClient::connect(address).await?;
        let answer = client.partition_checksum(request).await?.into_inner();
        ensure!(answer.error.is_none(), "node {}: {:?}", node.id(), answer.error);
        answers.push(answer);
    }
    let facts = |answer: &PartitionChecksumResponse| {
        (answer.log_start, answer.high_watermark, answer.crc32c)
    };
    let first = answers.first().map(facts).context("a cluster has nodes")?;
    for answer in &answers {
        ensure!(
            facts(answer) == first,
            "{topic}/{partition}: node {} has {:?}, node {} has {first:?}",
            answer.node_id,
            facts(answer),
            answers[0].node_id
        );
    }
    Ok(())
}
