//! One question to a broker, and its answer.

use std::sync::Arc;
use std::time::Duration;

use quipu_broker::Broker;
use quipu_broker::cluster::TopicFilter;
use quipu_runtime::{Deadline, Rng};
use quipu_types::{NodeId, PartitionId};

use super::floor::Floor;
use super::link::Road;
use crate::commands::pick;
use crate::l1::ground::Ground;
use crate::l1::host::Host;
use crate::l1::process::Process;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits to hear who leads.
const VIEW_PATIENCE: Duration = Duration::from_millis(800);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nobody listened.
    NotSent,
    /// Nobody knows what became of it.
    Silent,
}

/// What a client stands on.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) ground: Ground,
    pub(super) floor: Arc<Floor>,
    pub(super) hosts: Arc<Vec<Host>>,
    pub(super) road: Road,
}

impl Way {
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.ground.nodes().collect()
    }

    pub(super) fn any_node(&self, rng: &mut Rng) -> NodeId {
        pick(rng, &self.nodes())
    }

    fn host(&self, node: NodeId) -> &Host {
        let found = self.hosts.iter().find(|host| host.id() == node);
        found.expect("nodes do not come and go")
    }

    /// The process of a node that listens to clients, with its broker and its machine's pace.
    pub(super) fn listener(&self, node: NodeId) -> Option<(Arc<Process>, Broker, &Host)> {
        let host = self.host(node);
        let process = host.process()?;
        let broker = process.broker()?;
        Some((process, broker, host))
    }

    /// Asks a node something.
    pub(super) async fn ask<T, F: Future<Output = T>>(
        &self,
        node: NodeId,
        question: impl FnOnce(Broker, Deadline) -> F,
    ) -> Result<T, NoAnswer> {
        self.ask_for(node, PATIENCE, question).await
    }

    async fn ask_for<T, F: Future<Output = T>>(
        &self,
        node: NodeId,
        patience: Duration,
        question: impl FnOnce(Broker, Deadline) -> F,
    ) -> Result<T, NoAnswer> {
        let (process, broker, host) = self.listener(node).ok_or(NoAnswer::NotSent)?;
        let life = process.life().clone();
        let asking = async {
            tokio::time::sleep(self.road.delay()).await;
            host.pace.moving().await;
            let deadline = Deadline::after(process.clock(), patience);
            let answer = question(broker, deadline).await;
            tokio::time::sleep(self.road.delay()).await;
            host.pace.moving().await;
            answer
        };
        tokio::select! {
            biased;
            () = life.over() => Err(NoAnswer::Silent),
            answer = tokio::time::timeout(patience, asking) => answer.map_err(|_| NoAnswer::Silent),
        }
    }

    /// Who leads a partition, as a node believes.
    pub(super) async fn leader(&self, node: NodeId, partition: PartitionId) -> Option<NodeId> {
        let names = vec![self.floor.topic_of(partition).to_owned()];
        let filter = TopicFilter { names, ..TopicFilter::default() };
        let asked = self.ask_for(node, VIEW_PATIENCE, |broker, deadline| async move {
            broker.cluster_metadata(&filter, deadline).await
        });
        let topic = asked.await.ok()?.topics.into_iter().next()?.ok()?;
        let index = usize::try_from(partition.index.get()).expect("few");
        topic.partitions.get(index)?.leader
    }
}
