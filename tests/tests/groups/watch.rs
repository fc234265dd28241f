//! Positions of a group, looked at over and over.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use quipu_client::{Client, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const INTERVAL: Duration = Duration::from_millis(50);

/// Sees to it that no position of a group moves back.
pub(crate) struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<usize>>,
}

impl Watch {
    pub(crate) fn start(client: &Client, group: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (client, group) = (client.clone(), group.to_owned());
        let task = tokio::spawn(async move {
            let mut seen: BTreeMap<TopicPartition, u64> = BTreeMap::new();
            let mut looks = 0;
            let mut pace = tokio::time::interval(INTERVAL);
            while !*stopped.borrow() {
                pace.tick().await;
                // Who cannot be asked says nothing about positions.
                let Ok(stored) = client.admin().fetch_offsets(&group).await else { continue };
                looks += 1;
                for (partition, stored) in stored {
                    let now = stored.offset;
                    let before = seen.insert(partition.clone(), now).unwrap_or(0);
                    ensure!(
                        before <= now,
                        "the position in {partition} went from {before} to {now}"
                    );
                }
            }
            Ok(looks)
        });
        Self { stop, task }
    }

    /// Ends it; an error when a position moved back, or none was ever seen.
    pub(crate) async fn end(self) -> Result<()> {
        let _ = self.stop.send(true);
        let looks = self.task.await??;
        ensure!(looks > 0, "nobody looked at the positions");
        Ok(())
    }
}
