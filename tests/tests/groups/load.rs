//! Records that keep coming.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use quipu_client::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::crew::{producer, publish_by};

/// A pace that leaves the machine to the members.
const INTERVAL: Duration = Duration::from_millis(50);
const RECORDS_PER_INTERVAL: usize = 20;

/// A producer at work.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<BTreeSet<String>>>,
}

impl Load {
    /// Publishes numbered records from `first` on until it is ended.
    pub(crate) fn start(client: &Client, topic: &str, first: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (producer, topic) = (producer(client)?, topic.to_owned());
        let task = tokio::spawn(async move {
            let mut values = BTreeSet::new();
            let mut pace = tokio::time::interval(INTERVAL);
            let mut next = first;
            while !*stopped.borrow() {
                pace.tick().await;
                let numbers = next..next + RECORDS_PER_INTERVAL;
                values.extend(publish_by(&producer, &topic, numbers).await?);
                next += RECORDS_PER_INTERVAL;
            }
            Ok(values)
        });
        Ok(Self { stop, task })
    }

    /// Ends it; gives all values, each of which was acknowledged.
    pub(crate) async fn end(self) -> Result<BTreeSet<String>> {
        let _ = self.stop.send(true);
        self.task.await?
    }
}
