//! Starting readers: for each group as many members as the plan says.

use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use crate::book::Book;
use crate::driver::{Driver, Share, Sink};
use crate::plan::Plan;

/// Readers that run; dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct Readers(Vec<JoinHandle<Result<()>>>);

impl Readers {
    /// Returns when all are ready.
    pub(crate) async fn start<D: Driver>(
        driver: &D,
        plan: &Plan,
        book: &Rc<Book>,
        from_start: bool,
    ) -> Result<Self> {
        let mut readers = Self::default();
        for group in 0..plan.groups {
            for member in 0..plan.members {
                let partitions = plan.share(member);
                if partitions.is_empty() {
                    continue;
                }
                let share = Share { group, partitions, from_start };
                let sink = Sink::new(book.clone(), group);
                let reading = driver.reader(plan, share, sink).await;
                let reading = reading.context("start a reader")?;
                readers.0.push(tokio::task::spawn_local(reading));
            }
        }
        Ok(readers)
    }

    /// The reason when one has ended: they read for ever.
    pub(crate) async fn check(&mut self) -> Result<()> {
        let ended = self.0.iter().position(JoinHandle::is_finished);
        let Some(at) = ended else { return Ok(()) };
        self.0.swap_remove(at).await?.context("a reader failed")?;
        anyhow::bail!("a reader ended by itself")
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
