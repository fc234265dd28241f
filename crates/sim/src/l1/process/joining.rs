//! A node's way into its cluster, where replicas move: the metadata group first, then the broker.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_broker::{BrokerEnv, sim as broker};
use quipu_consensus::{ChangeMembersError, Group, InitializeError};
use quipu_metadata::{Images, Metadata, MetadataError, NodeRegistration, sim};
use quipu_runtime::{Deadline, OnExit};
use quipu_shard::Shards;
use quipu_types::{Incarnation, LevelRange, NodeId, ReplicaId, ShardId, StartHistory, StartId};

use super::opener::Opener;
use super::{Hosted, Process};
use crate::l1::durable::Durable;
use crate::l1::ground::{directory_of, replica_on};
use crate::l1::life::Life;
use crate::l1::plant::Plant;
use crate::stop::{Step, Stop};

/// How long one try to register may take.
const REGISTER_WAIT: Duration = Duration::from_secs(2);
/// How often a hasty leader looks.
const HASTE: Duration = Duration::from_millis(1);

/// The starts of a node's directory: no copy of it ever comes back.
pub(super) fn starts(life: &Life) -> StartHistory {
    let number = u8::try_from(life.number() % 256).expect("a byte");
    let start = StartId::from_bytes([number; 16]);
    StartHistory::new(Incarnation::new(life.number()), vec![start]).expect("one start")
}

/// The nodes that form the metadata group, as the bootstrap chooses them.
fn founders(nodes: impl Iterator<Item = NodeId>) -> Vec<(ReplicaId, NodeId)> {
    let nodes: Vec<NodeId> = nodes.collect();
    let count = if nodes.len() < 5 { 3 } else { 5 };
    nodes.into_iter().take(count).map(|node| (replica_on(node), node)).collect()
}

impl Process {
    /// The metadata, once the node takes part in it.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        self.metadata.get().cloned()
    }

    /// Opens the metadata group, registers, and starts the broker, which opens what it should.
    pub(super) async fn join(self: &Arc<Self>, durable: &Arc<Mutex<Durable>>) -> Step {
        tokio::select! {
            biased;
            reason = self.ended() => Err(self.disk.stop(reason.unwrap_or_default())),
            joined = self.join_alive(durable) => joined,
        }
    }

    async fn join_alive(self: &Arc<Self>, durable: &Arc<Mutex<Durable>>) -> Step {
        let images = self.open_metadata().await?;
        self.tasks.spawn("images", OnExit::Log, self.show(images.clone()));
        let (consensus, clock) = (Arc::clone(&self.consensus), self.clock.clone());
        let metadata = sim::following(images, Arc::clone(&consensus), clock.clone());
        let _ = self.metadata.set(metadata.clone());
        for node in self.ground.nodes().filter(|node| *node != self.life.node()) {
            consensus.connect_peer(node);
        }
        let opener = Opener { process: Arc::downgrade(self), durable: Arc::clone(durable) };
        if self.ground.scene.has(Plant::OldImageIsBelieved) {
            opener.sweep_unconfirmed(self).await;
        } else {
            self.register(&metadata).await?;
        }
        let broker = broker::start_moving(BrokerEnv {
            node: self.life.node(),
            metadata,
            consensus,
            shards: Shards::new(),
            opener: Arc::new(opener),
            retention_interval: Duration::MAX,
            scrub_interval: Duration::ZERO,
            clock,
            tasks: self.tasks.clone(),
        });
        let _ = self.broker.set(broker);
        Ok(())
    }

    async fn open_metadata(&self) -> Step<Images> {
        let refused = |error: &dyn ToString| {
            self.disk.stop(format!("the metadata group: {}", error.to_string()))
        };
        let (machine, images, journal) = {
            let node = self.node();
            let node = node.as_ref().ok_or(Stop::Fault)?;
            let opened = sim::open(node.store(), self.ground.first_state());
            let (machine, images) = opened.map_err(|error| refused(&error))?;
            (machine, images, node.journal.group(ShardId::METADATA))
        };
        let own = replica_on(self.life.node());
        let machine = Box::new(machine);
        let group = self.consensus.open_group(ShardId::METADATA, own, journal, machine).await;
        let group = group.map_err(|error| refused(&error))?;
        let founders = founders(self.ground.nodes());
        if founders[0].0 == own && !group.is_initialized() {
            match group.initialize(founders).await {
                Ok(()) | Err(InitializeError::Already) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Ok(images)
    }

    /// Tells the cluster of this start, until it is heard: then the image is as new as that.
    async fn register(&self, metadata: &Metadata) -> Step {
        let node = self.life.node();
        let registration = NodeRegistration {
            node,
            directory: directory_of(node),
            incarnation: Incarnation::new(self.life.number()),
            starts: starts(&self.life),
            address_client: String::new(),
            address_peer: node.to_string(),
            rack: String::new(),
            version: String::new(),
            levels: LevelRange::OWN,
        };
        loop {
            let deadline = Deadline::after(&self.clock, REGISTER_WAIT);
            match metadata.register_node(registration.clone(), deadline).await {
                Ok(()) => return Ok(()),
                Err(MetadataError::Refused(refusal)) => {
                    return Err(self.disk.stop(format!("not registered: {refusal}")));
                }
                Err(error) => {
                    let event = format_args!("node {node} is not registered yet: {error}");
                    self.ground.scene.note(event);
                }
            }
        }
    }

    /// Tells what every image says.
    fn show(&self, images: Images) -> impl Future<Output = ()> + Send + use<> {
        let (ground, life) = (self.ground.clone(), self.life.clone());
        async move {
            let mut images = images.watch();
            loop {
                let image = Arc::clone(&images.borrow_and_update());
                if !life.is_over() {
                    ground.scene.expect(ground.replicas.shown(&image));
                }
                if images.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Has the nodes follow the metadata group that are no voters of it.
    pub(crate) async fn add_followers(&self) -> Result<(), ChangeMembersError> {
        let Some(group) = self.metadata_group() else { return Ok(()) };
        let leadership = group.leadership();
        let leadership = leadership.ok_or(ChangeMembersError::NotLeader { leader: None })?;
        let members = group.members();
        for node in self.ground.nodes() {
            if !members.iter().any(|member| member.node == node) {
                group.add_learner(leadership, replica_on(node), node).await?;
            }
        }
        Ok(())
    }

    /// Its replica of the metadata group.
    pub(crate) fn metadata_group(&self) -> Option<Group> {
        self.consensus.group(ShardId::METADATA)
    }

    /// Whether this node leads the metadata group.
    pub(crate) fn is_controller(&self) -> bool {
        self.metadata().is_some_and(|metadata| metadata.is_controller())
    }

    /// What the plants have a fresh replica do.
    pub(super) async fn misbehave(&self, hosted: &Hosted) {
        let metadata = self.metadata().filter(|_| self.ground.scene.has(Plant::LearnerVotesAtOnce));
        if let Some(metadata) = metadata {
            self.tasks.spawn("haste", OnExit::Log, hasty(hosted.clone(), metadata));
        }
        let own = (hosted.group.replica(), self.life.node());
        let record = self.ground.replicas.record(hosted.group.shard());
        let is_later = record.is_some_and(|record| !record.founding.contains(&own));
        if self.ground.scene.has(Plant::FreshReplicaForms) && is_later {
            // Refused where there is a log.
            let _ = hosted.group.initialize(vec![own]).await;
        }
    }
}

/// Gives every learner that is wanted a vote as soon as it follows.
async fn hasty(hosted: Hosted, metadata: Metadata) {
    loop {
        tokio::time::sleep(HASTE).await;
        let image = metadata.image();
        let Some(record) = image.shards.get(&hosted.group.shard()) else { continue };
        let members = hosted.group.members();
        let is_wanted = |replica| record.replicas.iter().any(|(wanted, _)| *wanted == replica);
        let learns = members.iter().find(|it| !it.is_voter && is_wanted(it.replica));
        if let Some(learns) = learns
            && let Some(leadership) = hosted.group.leadership()
        {
            let voters = members.iter().filter(|member| member.is_voter).map(|it| it.replica);
            // Refused while another change is under way.
            let all = voters.chain([learns.replica]).collect();
            let _ = hosted.group.change_voters(leadership, all, true).await;
        }
    }
}
