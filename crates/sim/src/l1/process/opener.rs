//! Opens and forgets shards for a broker.

use std::sync::{Arc, Mutex, Weak};

use futures::future::BoxFuture;
use quipu_broker::OpenShard;
use quipu_runtime::run_blocking;
use quipu_shard::{OpenError, Residence, ResidenceError, Shard};
use quipu_types::{MoveId, PartitionId, ReplicaId, ShardId};

use super::Process;
use crate::l1::census::Event;
use crate::l1::durable::Durable;
use crate::l1::plant::Plant;
use crate::stop::Stop;

/// What the broker of a process has for it. Clones are alike.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) process: Weak<Process>,
    pub(super) durable: Arc<Mutex<Durable>>,
}

impl Opener {
    /// The process, while it lives.
    fn living(&self) -> Option<Arc<Process>> {
        self.process.upgrade().filter(|process| !process.life.is_over())
    }

    /// Works on what the disk has of a shard: as the server does it, beside the tasks.
    async fn reside<T: Send + 'static>(
        &self,
        process: &Process,
        shard: ShardId,
        work: impl FnOnce(&Residence) -> Result<T, ResidenceError> + Send + 'static,
    ) -> Result<T, ResidenceError> {
        let residence = process.residence(shard).ok_or(ResidenceError::Stopping)?;
        let done = run_blocking(move || work(&residence)).await;
        let done = done.unwrap_or(Err(ResidenceError::Stopping));
        // The journal may have been flushed for it: nobody is to know that before the simulator.
        if done.is_ok()
            && let Err(stop) = process.flush(&self.durable)
        {
            process.fail(&stop);
        }
        if let Err(error) = &done
            && !process.life.is_over()
            && let Stop::Violation(what) = process.disk.stop(error)
        {
            process.ground.scene.violated(format!("node {}: {what}", process.life.node()));
        }
        done
    }

    /// Makes the disk ready for a replica.
    async fn claim(
        &self,
        process: &Process,
        shard: ShardId,
        replica: ReplicaId,
    ) -> Result<(), ResidenceError> {
        let former = process.evicts(shard, Some(replica));
        if !process.ground.scene.has(Plant::FormerDataIsKept) {
            self.reside(process, shard, move |it| it.claim(shard, replica)).await?;
            process.has_evicted(shard, former);
        }
        Ok(())
    }

    async fn take_away(
        &self,
        process: &Process,
        shard: ShardId,
        partitions: Vec<(PartitionId, Option<MoveId>)>,
    ) -> Result<(), ResidenceError> {
        process.forget(shard);
        let former = process.evicts(shard, None);
        if !process.ground.scene.has(Plant::FormerDataIsKept) {
            self.reside(process, shard, move |it| it.evict(shard, &partitions)).await?;
            process.has_evicted(shard, former);
        }
        Ok(())
    }

    /// For [`Plant::OldImageIsBelieved`]: what the image does not know of goes.
    pub(super) async fn sweep_unconfirmed(&self, process: &Process) {
        let Some(image) = process.metadata().map(|metadata| metadata.image()) else { return };
        for shard in process.ground.shards().collect::<Vec<_>>() {
            let own = image.shards.get(&shard);
            let own = own.and_then(|record| record.replica_on(process.life.node()));
            if own.is_none() {
                let _ = self.take_away(process, shard, Vec::new()).await;
            }
        }
    }
}

impl OpenShard for Opener {
    fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
    ) -> BoxFuture<'static, Result<Shard, OpenError>> {
        let own = self.clone();
        Box::pin(async move {
            if let Some(process) = own.living() {
                if process.ground.plan.moves.is_some() {
                    let claimed = own.claim(&process, shard, replica).await;
                    claimed.map_err(|source| OpenError::Residence { shard, source })?;
                }
                match process.host(shard, replica, &own.durable).await {
                    Ok(hosted) => return Ok(hosted.shard.expect("there is a broker")),
                    Err(stop) => process.fail(&stop),
                }
            }
            // The process ends: nothing is tried again in it.
            std::future::pending().await
        })
    }

    fn evict(
        &self,
        shard: ShardId,
        partitions: Vec<(PartitionId, Option<MoveId>)>,
    ) -> BoxFuture<'static, Result<(), ResidenceError>> {
        let own = self.clone();
        Box::pin(async move {
            match own.living() {
                Some(process) if process.ground.plan.moves.is_some() => {
                    own.take_away(&process, shard, partitions).await
                }
                Some(_) | None => Ok(()),
            }
        })
    }

    fn residents(&self) -> BoxFuture<'static, Result<Vec<(ShardId, ReplicaId)>, ResidenceError>> {
        let own = self.clone();
        Box::pin(async move {
            match own.living() {
                Some(process) if process.ground.plan.moves.is_some() => {
                    // One table has all shards' notes.
                    own.reside(&process, ShardId::METADATA, Residence::residents).await
                }
                Some(_) | None => Ok(Vec::new()),
            }
        })
    }
}

impl Process {
    fn residence(&self, shard: ShardId) -> Option<Residence> {
        self.node().as_ref().map(|node| node.residence(shard))
    }

    /// Tells that what the disk has of a shard is about to go, unless it is `keeps`'s.
    fn evicts(&self, shard: ShardId, keeps: Option<ReplicaId>) -> Option<ReplicaId> {
        let former = self.ground.replicas.evicts(shard, self.life.node(), keeps);
        former.unwrap_or_else(|what| {
            self.ground.scene.violated(what);
            None
        })
    }

    /// It is gone.
    fn has_evicted(&self, shard: ShardId, former: Option<ReplicaId>) {
        if let Some(former) = former.filter(|_| !self.life.is_over()) {
            let node = self.life.node();
            let event = format_args!("node {node} shard {shard} has nothing of {former} any more");
            self.ground.scene.count(Event::Evicted, event);
        }
    }
}
