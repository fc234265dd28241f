//! Waiting until partitions can be written and read.

use std::time::Duration;

use quipu_runtime::Deadline;
use quipu_types::{PartitionId, ShardId};

use crate::{Broker, calls};

/// Looks again this often whether the partitions are open: their opening is announced nowhere.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long another node may take to say whether a partition is open there.
const ASK_WAIT: Duration = Duration::from_secs(1);

impl Broker {
    /// Waits until every one of these partitions is open on a leader.
    ///
    /// # Errors
    /// How many are not when the deadline passes.
    pub(super) async fn wait_served(
        &self,
        mut waiting: Vec<(PartitionId, ShardId)>,
        deadline: Deadline,
    ) -> Result<(), usize> {
        let wait = async {
            while !waiting.is_empty() {
                let looks = waiting.iter().map(|place| self.is_served(place.0, place.1, deadline));
                let served = futures::future::join_all(looks).await;
                let mut served = served.into_iter();
                waiting.retain(|_| served.next() == Some(false));
                if !waiting.is_empty() {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        };
        let waited = deadline.timeout(self.clock(), wait).await;
        waited.map_err(|_| waiting.len())
    }

    /// Whether a partition is open on a leader. A replica here that has applied the opening is
    /// proof of it: the leader has too, or will have before it serves.
    async fn is_served(&self, partition: PartitionId, id: ShardId, deadline: Deadline) -> bool {
        let Some(leader) = self.leader_of(id) else { return false };
        if let Some(shard) = self.inner.shards.get(id) {
            let is_led = leader != self.inner.node || shard.is_ready_leader();
            return is_led && shard.partition(partition).is_some();
        }
        let deadline = deadline.earlier(Deadline::after(self.clock(), ASK_WAIT));
        let payload = calls::encode_partition(partition);
        let consensus = &self.inner.consensus;
        consensus.call(leader, calls::PARTITION_BOUNDS, payload, deadline).await.is_ok()
    }
}
