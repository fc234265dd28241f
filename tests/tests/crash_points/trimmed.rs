//! A topic beside the one of the case, whose records are deleted as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use quipu_client::{NewTopic, NodeId};
use quipu_testkit::{NodeProcess, replicas};

use crate::cases::{Case, Role, Subject};
use crate::field::Field;
use crate::load::{Load, Size};
use crate::reach::{forever, while_driven};

const TOPIC: &str = "trimmed";

/// Has a node die while it deletes records, starts it again, and looks: what was said to be deleted
/// stays deleted, on every node. The node is dead again when this returns.
pub(crate) async fn crash(field: &mut Field, case: &Case, role: Role) -> Result<u64> {
    let new = NewTopic::new(TOPIC).set("segment-bytes", "1MiB");
    field.client.admin().create_topic(new).await?;
    let mut load = Load::start(&field.client, TOPIC, Size::Bulk)?;
    load.goes_on(1).await?;
    let target = field.pick(Subject::Records, role, TOPIC).await?;
    let log_start = Arc::<AtomicU64>::default();
    let trimming = trim(field, Arc::clone(&log_start));
    while_driven(field, target, &format!("{}=crash", case.point), trimming).await?;
    field.cluster.node(target).start()?;
    load.end().await?;
    field.cluster.wait_healthy().await?;
    replicas::are_identical(&field.cluster, TOPIC, 1).await?;
    let said = log_start.load(Ordering::Acquire);
    for id in field.cluster.nodes().iter().map(NodeProcess::id) {
        let found = field.client.admin().partition_checksum(NodeId::new(id), TOPIC, 0).await?;
        ensure!(found.log_start >= said, "node {id} has {found:?}, {said} was said");
    }
    field.client.admin().delete_topic(TOPIC).await?;
    field.cluster.node(target).kill()?;
    Ok(target)
}

/// Deletes what there is, again and again. What fails is tried again.
fn trim(field: &Field, log_start: Arc<AtomicU64>) -> impl Future<Output = ()> + 'static {
    let client = field.client.clone();
    forever(async move |_| {
        if let Ok(found) = client.admin().delete_records(TOPIC, 0, None).await {
            log_start.fetch_max(found, Ordering::AcqRel);
        }
    })
}
