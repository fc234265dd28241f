//! How a node makes sure that it has not missed a change of metadata.
//!
//! A node learns of a change a moment after the controller made it. "This topic does not exist" or
//! "it has no such partition" must not be said, nor acted upon, because of that moment: the
//! controller is asked for the version it has now (a linearizable read, Raft §6.4), and the own
//! image awaited.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_types::{MetadataVersion, PartitionId, ShardId, TopicId};
use tokio::sync::Semaphore;

use crate::{Broker, calls};

/// Questions to the controller are at least this far apart, however many want to know.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long a question may take.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// One question at a time, its answer shared by all who asked before it was put.
#[derive(Debug)]
pub(crate) struct Freshness {
    turn: Semaphore,
    /// When the last answered question was put. Unit: since the clock's start.
    asked_at: Mutex<Option<Duration>>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), asked_at: Mutex::default() }
    }
}

impl Freshness {
    fn asked_at(&self) -> Option<Duration> {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, asked_at: Duration) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked_at);
    }
}

/// An image, and whether it is known to lack nothing that was there when it was asked for.
pub(crate) struct Known {
    pub(crate) image: Arc<Image>,
    pub(crate) is_confirmed: bool,
}

impl Broker {
    /// An image that knows all these topics, or is confirmed to be new enough not to.
    pub(crate) async fn image_knowing(
        &self,
        topics: impl Iterator<Item = TopicId> + Clone,
        deadline: Deadline,
    ) -> Known {
        let is_known =
            |image: &Image| topics.clone().all(|topic| image.topic_by_id(&topic).is_some());
        self.image_in_which(is_known, deadline).await
    }

    /// An image that places all these partitions, or is confirmed to be new enough not to.
    pub(crate) async fn image_placing(
        &self,
        partitions: impl Iterator<Item = PartitionId> + Clone,
        deadline: Deadline,
    ) -> Known {
        let is_placed =
            |image: &Image| partitions.clone().all(|partition| image.shard_of(partition).is_some());
        self.image_in_which(is_placed, deadline).await
    }

    async fn image_in_which(&self, holds: impl Fn(&Image) -> bool, deadline: Deadline) -> Known {
        let image = self.image();
        if holds(&image) {
            return Known { image, is_confirmed: true };
        }
        let is_confirmed = self.confirm_image(deadline).await;
        Known { image: self.image(), is_confirmed }
    }

    /// Waits until the image contains every change made before the call; says whether it does.
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn confirm_image(&self, deadline: Deadline) -> bool {
        if self.inner.metadata.is_fixed() {
            return true;
        }
        let clock = &self.inner.clock;
        let deadline = deadline.earlier(Deadline::after(clock, WAIT_MAX));
        // Seldom needed and large: it should not weigh on every request's future.
        let confirm = Box::pin(self.confirm(deadline));
        deadline.timeout(clock, confirm).await.unwrap_or(false)
    }

    async fn confirm(&self, deadline: Deadline) -> bool {
        let freshness = &self.inner.freshness;
        let called_at = self.inner.clock.monotonic();
        let _turn = freshness.turn.acquire().await.expect("it is never closed");
        let last = freshness.asked_at();
        if last.is_some_and(|asked_at| asked_at >= called_at) {
            return true;
        }
        if let Some(asked_at) = last {
            let since = self.inner.clock.monotonic().saturating_sub(asked_at);
            tokio::time::sleep(INTERVAL_MIN.saturating_sub(since)).await;
        }
        let asked_at = self.inner.clock.monotonic();
        let Some(version) = self.controller_version(deadline).await else {
            return false;
        };
        let is_here = self.inner.metadata.wait_for(version, deadline).await;
        if is_here {
            freshness.note(asked_at);
        }
        is_here
    }

    async fn controller_version(&self, deadline: Deadline) -> Option<MetadataVersion> {
        if let Some(version) = self.own_confirmed_version(deadline).await {
            return Some(version);
        }
        let controller = self.leader_elsewhere(ShardId::METADATA)?;
        let call =
            self.inner.consensus.call(controller, calls::METADATA_VERSION, Bytes::new(), deadline);
        let answer = call.await.ok()?;
        Some(MetadataVersion::new(u64::from_be_bytes(answer.as_ref().try_into().ok()?)))
    }

    /// The version of this node's image, if it leads the metadata group and a quorum says so.
    pub(crate) async fn own_confirmed_version(
        &self,
        deadline: Deadline,
    ) -> Option<MetadataVersion> {
        let group = self.inner.consensus.group(ShardId::METADATA)?;
        group.leadership()?;
        group.ensure_linearizable(deadline).await.ok()?;
        Some(self.image().version)
    }
}
