//! Another replica of a shard, healthy, that has what snapshots are made of.

use std::path::Path;
use std::sync::Arc;

use quipu_consensus::{AppliedState, SnapshotSource, StateMachine};
use quipu_disk::{Faults, FaultyDisk};
use quipu_kv::{SimTables, Store};
use quipu_partition::PartitionEnv;
use quipu_shard::sim::{SimEnv, SimShard};
use quipu_types::{LogIndex, ShardId};

use crate::cluster::{Cluster, payload};
use crate::plan::Plan;
use crate::stop::{Step, Stop};

/// A healthy replica.
pub(crate) struct Peer {
    shard: SimShard,
    applied: usize,
}

impl Peer {
    pub(crate) fn new(shard: ShardId, plan: &Plan) -> Step<Self> {
        let tables = SimTables::new(Arc::new(|_| Ok(())));
        let root = Path::new("/peer");
        let env = SimEnv {
            kv: Store::simulated(&tables).map_err(broken)?,
            partitions: PartitionEnv {
                disk: Arc::new(FaultyDisk::new(0, Faults::default())),
                root_dir: root.join("partitions"),
                segment: plan.segment(),
            },
            snapshot_dir: root.join("snapshots"),
        };
        let shard = SimShard::open(env, shard).map_err(broken)?;
        Ok(Self { shard, applied: 0 })
    }

    /// Applies everything committed.
    pub(crate) fn catch_up(&mut self, cluster: &Cluster) -> Step {
        while self.applied < cluster.committed() {
            let index = LogIndex::new(u64::try_from(self.applied).expect("few"));
            let entry = cluster.entry(index).expect("committed entries are in the log");
            let payload = payload(entry.payload.clone());
            self.shard.machine.apply(entry.id, payload).map_err(broken)?;
            self.applied += 1;
        }
        self.shard.machine.end_of_round();
        Ok(())
    }

    /// Frees what was trimmed.
    pub(crate) fn checkpoint(&mut self, cluster: &Cluster) -> Step {
        let state = cluster.applied_state(self.applied);
        self.shard.machine.checkpoint(state).map_err(broken)
    }

    /// A snapshot of what was applied.
    pub(crate) fn snapshot(
        &mut self,
        cluster: &Cluster,
    ) -> Step<(AppliedState, Arc<dyn SnapshotSource>)> {
        let source = self.shard.machine.snapshot().map_err(broken)?;
        Ok((cluster.applied_state(self.applied), source))
    }
}

fn broken(error: impl ToString) -> Stop {
    Stop::Violation(format!("a healthy replica: {}", error.to_string()))
}
