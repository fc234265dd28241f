//! What the other crates hold: read the image, propose changes from any node.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use quipu_consensus::{Consensus, ProposeError, Role};
use quipu_runtime::{Clock, Deadline};
use quipu_types::{
    Effect, FormatLevel, MetadataVersion, MoveId, NodeId, PartitionId, PartitionIndex, ShardId,
    TopicId, TopicName, limits,
};
use tokio::sync::watch;

use crate::command::{Answer, Command, NewTopic, NodeRegistration, Outcome};
use crate::error::MetadataError;
use crate::image::{Image, TopicRecord};
use crate::placement::Rule;
use crate::policy::{Policy, TopicPattern};
use crate::rebuild::replicas_left;
use crate::refusal::Refusal;
use crate::replica::Images;
use crate::state_machine::{self, State};
use crate::topic_config::{ConfigKey, Setting};

/// Pause between attempts: well below an election, well above a round trip.
const PAUSE: Duration = Duration::from_millis(25);
/// How long one attempt may take before another leader is looked for: a node that was paused
/// keeps its connections.
const ATTEMPT_WAIT: Duration = Duration::from_secs(3);

/// The metadata of the cluster, from any of its nodes. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    inner: Arc<Inner>,
}

struct Inner {
    images: Images,
    consensus: Arc<Consensus>,
    clock: Clock,
    /// The image never changes: a simulator made it.
    is_fixed: bool,
}

/// A [`Metadata`] that keeps nothing alive.
#[derive(Clone)]
pub(crate) struct WeakMetadata(Weak<Inner>);

impl WeakMetadata {
    pub(crate) fn upgrade(&self) -> Option<Metadata> {
        self.0.upgrade().map(|inner| Metadata { inner })
    }
}

/// A change of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// Make or replace one.
    Set(Policy),
    /// Remove the one of a pattern.
    Delete(TopicPattern),
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("images", &self.inner.images).finish_non_exhaustive()
    }
}

impl Metadata {
    pub(crate) fn new(images: Images, consensus: Arc<Consensus>, clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { images, consensus, clock, is_fixed: false }) }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fixed(images: Images, consensus: Arc<Consensus>, clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { images, consensus, clock, is_fixed: true }) }
    }

    /// Whether the image is all there will ever be, in a simulator: nobody has to confirm it.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.inner.is_fixed
    }

    /// For handlers that consensus keeps.
    pub(crate) fn downgrade(&self) -> WeakMetadata {
        WeakMetadata(Arc::downgrade(&self.inner))
    }

    /// The latest image here. Takes no lock.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.inner.images.image()
    }

    /// Follows the images; a slow reader skips to the latest.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.inner.images.watch()
    }

    /// Whether this node leads the metadata group and knows all that was decided before.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        let group = self.inner.consensus.group(ShardId::METADATA);
        group.is_some_and(|group| group.status().borrow().role == Role::Leader { is_ready: true })
    }

    /// Nodes that are being rebuilt, with how many of their replicas are still to take the places
    /// of those they lost; as far as this node knows.
    #[must_use]
    pub fn rebuilding(&self) -> BTreeMap<NodeId, usize> {
        let image = self.image();
        let group = self.inner.consensus.group(ShardId::METADATA);
        let members = group.map(|group| group.members()).unwrap_or_default();
        let rebuilt = image.nodes.iter().filter(|(_, record)| record.rebuilt.is_some());
        let left = rebuilt.map(|(node, _)| (*node, replicas_left(&image, &members, *node)));
        left.filter(|(_, left)| *left > 0).collect()
    }

    /// The node that leads the metadata group, as last heard.
    #[must_use]
    pub fn controller(&self) -> Option<NodeId> {
        self.inner.consensus.leader_hint(ShardId::METADATA).map(|hint| hint.node)
    }

    /// Proposes a change to the metadata group, wherever it is led, and tries again until the
    /// deadline: every command is harmless when it arrives twice.
    ///
    /// On return the image here shows the outcome, unless the deadline passed first.
    ///
    /// Dropping the future does not take the change back.
    ///
    /// # Errors
    /// [`MetadataError::effect`] says whether it may have happened.
    pub async fn propose(
        &self,
        command: Command,
        deadline: Deadline,
    ) -> Result<Outcome, MetadataError> {
        self.settle(command, deadline).await.map_err(|failed| failed.error)
    }

    async fn settle(&self, command: Command, deadline: Deadline) -> Result<Outcome, Failed> {
        let bytes = command.encode();
        // Whether an earlier attempt may have arrived.
        let mut is_unsure = false;
        let mut leader = None;
        let mut attempt = 0;
        loop {
            if let Some(node) = leader.take().or_else(|| self.candidate(attempt)) {
                let clock = &self.inner.clock;
                let attempt = deadline.earlier(Deadline::after(clock, ATTEMPT_WAIT));
                let consensus = &self.inner.consensus;
                let reply =
                    consensus.forward(node, ShardId::METADATA, bytes.clone(), attempt).await;
                match reply {
                    Ok(reply) => return self.answered(&reply.0, is_unsure, deadline).await,
                    Err(ProposeError::TooLarge { bytes, max }) => {
                        return Err(Failed::new(MetadataError::TooLarge { bytes, max }, is_unsure));
                    }
                    Err(error) => {
                        tracing::debug!(%node, %error, "a metadata change was not taken; again");
                        is_unsure |= error.effect() == Effect::Unknown;
                        leader = named_leader(&error, node);
                    }
                }
            }
            if deadline.is_past(&self.inner.clock) {
                let error = if is_unsure {
                    MetadataError::Deadline
                } else {
                    MetadataError::ControllerUnavailable
                };
                return Err(Failed::new(error, is_unsure));
            }
            if leader.is_none() {
                tokio::time::sleep(PAUSE.min(deadline.remaining(&self.inner.clock))).await;
            }
            attempt += 1;
        }
    }

    /// Whom to ask: the leader as last heard. A node that nobody tells (it joins, and its address
    /// is not known yet) or that heard wrong asks the others in turn, who name the leader.
    fn candidate(&self, attempt: usize) -> Option<NodeId> {
        let heard = self.controller().filter(|_| attempt % 4 != 3);
        heard.or_else(|| {
            let peers = self.inner.consensus.peers();
            let connected: Vec<NodeId> =
                peers.iter().filter(|peer| peer.is_connected).map(|peer| peer.node).collect();
            connected.get((attempt + attempt / 4) % connected.len().max(1)).copied()
        })
    }

    async fn answered(
        &self,
        reply: &[u8],
        is_unsure: bool,
        deadline: Deadline,
    ) -> Result<Outcome, Failed> {
        let answer = Answer::decode(reply)
            .map_err(|reason| Failed::new(MetadataError::Unreadable(reason), true))?;
        match answer.result {
            Ok(outcome) => {
                self.wait_for(answer.version, deadline).await;
                Ok(outcome)
            }
            Err(refusal) => Err(Failed::new(refusal.into(), is_unsure)),
        }
    }

    /// Waits until the image here is at least this new; says whether it is.
    pub async fn wait_for(&self, version: MetadataVersion, deadline: Deadline) -> bool {
        let mut images = self.watch();
        let is_here = images.wait_for(|image| image.version >= version);
        deadline.timeout(&self.inner.clock, is_here).await.is_ok_and(|image| image.is_ok())
    }

    /// Creates a topic. On return the image here shows it; whether its partitions have leaders is
    /// the shards' affair.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn create_topic(
        &self,
        topic: NewTopic,
        deadline: Deadline,
    ) -> Result<TopicRecord, MetadataError> {
        let command = Command::CreateTopic { topic, rule: Rule::LeastLoaded };
        let outcome = self.propose(command, deadline).await?;
        let Outcome::TopicCreated(topic) = outcome else { return Err(unexpected()) };
        Ok(topic)
    }

    /// What [`Self::create_topic`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_create_topic(&self, topic: NewTopic) -> Result<TopicRecord, MetadataError> {
        let outcome = self.check(Command::CreateTopic { topic, rule: Rule::LeastLoaded })?;
        let Outcome::TopicCreated(topic) = outcome else { return Err(unexpected()) };
        Ok(topic)
    }

    /// Gives a topic more partitions, until it has `total` of them. Returns it as it is then, and
    /// how many it had; as many as `total` when nothing was to do.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn add_partitions(
        &self,
        topic: TopicId,
        total: u32,
        deadline: Deadline,
    ) -> Result<(TopicRecord, u32), MetadataError> {
        let command = Command::AddPartitions { topic, total, rule: Rule::LeastLoaded };
        let outcome = self.propose(command, deadline).await?;
        let Outcome::PartitionsAdded { topic, before } = outcome else { return Err(unexpected()) };
        Ok((topic, before))
    }

    /// What [`Self::add_partitions`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_add_partitions(
        &self,
        topic: TopicId,
        total: u32,
    ) -> Result<(TopicRecord, u32), MetadataError> {
        let command = Command::AddPartitions { topic, total, rule: Rule::LeastLoaded };
        let outcome = self.check(command)?;
        let Outcome::PartitionsAdded { topic, before } = outcome else { return Err(unexpected()) };
        Ok((topic, before))
    }

    /// Begins to move partitions of a topic to other shards, all of them or none; returns the topic
    /// as it is then. Moving a partition to where it is calls its move off.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn move_partitions(
        &self,
        topic: TopicId,
        to: BTreeMap<PartitionIndex, ShardId>,
        deadline: Deadline,
    ) -> Result<TopicRecord, MetadataError> {
        moving(self.propose(Command::MovePartitions { topic, to }, deadline).await?)
    }

    /// What [`Self::move_partitions`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_move_partitions(
        &self,
        topic: TopicId,
        to: BTreeMap<PartitionIndex, ShardId>,
    ) -> Result<TopicRecord, MetadataError> {
        moving(self.check(Command::MovePartitions { topic, to })?)
    }

    /// Takes note that a partition has arrived.
    ///
    /// # Errors
    /// `MoveCalledOff` when it is to stay where it was.
    pub async fn finish_partition_move(
        &self,
        partition: PartitionId,
        by: MoveId,
        deadline: Deadline,
    ) -> Result<(), MetadataError> {
        let PartitionId { topic, index: partition } = partition;
        let command = Command::FinishPartitionMove { topic, partition, by };
        self.propose(command, deadline).await.map(drop)
    }

    /// Gives a topic another number of replicas; returns it as it is then. Its partitions are on
    /// their way.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn set_replication(
        &self,
        topic: TopicId,
        replication: u8,
        deadline: Deadline,
    ) -> Result<TopicRecord, MetadataError> {
        let command = Command::SetReplication { topic, replication, rule: Rule::LeastLoaded };
        moving(self.propose(command, deadline).await?)
    }

    /// What [`Self::set_replication`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_set_replication(
        &self,
        topic: TopicId,
        replication: u8,
    ) -> Result<TopicRecord, MetadataError> {
        let command = Command::SetReplication { topic, replication, rule: Rule::LeastLoaded };
        moving(self.check(command)?)
    }

    /// Deletes the topic of a name, and only the one that has the name now. Returns its id.
    ///
    /// # Errors
    /// `UnknownTopic` when there is none; a deletion that was retried and had happened the first
    /// time is a success.
    pub async fn delete_topic(
        &self,
        name: TopicName,
        deadline: Deadline,
    ) -> Result<TopicId, MetadataError> {
        // Not known here: it may be known there.
        let known = self.image().topic(&name).map(|topic| topic.id);
        let command = Command::DeleteTopic { name, id: known };
        let is_gone = |error: &MetadataError| {
            matches!(
                error,
                MetadataError::Refused(Refusal::UnknownTopic { .. } | Refusal::StaleTopicId { .. })
            )
        };
        match (self.settle(command, deadline).await, known) {
            (Ok(Outcome::TopicDeleted { id }), _) => Ok(id),
            (Ok(_), _) => Err(unexpected()),
            // Gone, or another topic by now: an earlier attempt did it.
            (Err(failed), Some(id)) if failed.is_unsure && is_gone(&failed.error) => Ok(id),
            (Err(failed), _) => Err(failed.error),
        }
    }

    /// Sets and resets settings of a topic, all of them or none. Returns the topic as it is then.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn alter_topic(
        &self,
        name: TopicName,
        set: Vec<Setting>,
        reset: Vec<ConfigKey>,
        deadline: Deadline,
    ) -> Result<TopicRecord, MetadataError> {
        let command = Command::AlterTopic { name, set, reset };
        let outcome = self.propose(command, deadline).await?;
        let Outcome::TopicAltered(topic) = outcome else { return Err(unexpected()) };
        Ok(topic)
    }

    /// What [`Self::alter_topic`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_alter_topic(
        &self,
        name: TopicName,
        set: Vec<Setting>,
        reset: Vec<ConfigKey>,
    ) -> Result<TopicRecord, MetadataError> {
        let outcome = self.check(Command::AlterTopic { name, set, reset })?;
        let Outcome::TopicAltered(topic) = outcome else { return Err(unexpected()) };
        Ok(topic)
    }

    /// Says what topics of a pattern inherit, in place of what was said before.
    ///
    /// # Errors
    /// Refusals name what is wrong and what would be right.
    pub async fn set_policy(
        &self,
        policy: Policy,
        deadline: Deadline,
    ) -> Result<Policy, MetadataError> {
        let outcome = self.propose(Command::SetPolicy(policy), deadline).await?;
        let Outcome::PolicySet(policy) = outcome else { return Err(unexpected()) };
        Ok(policy)
    }

    /// Removes the policy of a pattern. Returns what it was.
    ///
    /// # Errors
    /// `UnknownPolicy` when there is none; a deletion that was retried and had happened the first
    /// time is a success.
    pub async fn delete_policy(
        &self,
        pattern: TopicPattern,
        deadline: Deadline,
    ) -> Result<Policy, MetadataError> {
        let known = self.image().policies.get(&pattern).map(<[Setting]>::to_vec);
        let command = Command::DeletePolicy { pattern: pattern.clone() };
        let unknown = MetadataError::Refused(Refusal::UnknownPolicy { pattern: pattern.clone() });
        match (self.settle(command, deadline).await, known) {
            (Ok(Outcome::PolicyDeleted(policy)), _) => Ok(policy),
            (Ok(_), _) => Err(unexpected()),
            // An earlier attempt did it.
            (Err(failed), Some(settings)) if failed.is_unsure && failed.error == unknown => {
                Ok(Policy { pattern, settings })
            }
            (Err(failed), _) => Err(failed.error),
        }
    }

    /// The image as it would be with other policies, as far as this node knows, and the policy.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_policy(&self, change: PolicyChange) -> Result<(Image, Policy), MetadataError> {
        let (state, outcome) = self.try_out(match change {
            PolicyChange::Set(policy) => Command::SetPolicy(policy),
            PolicyChange::Delete(pattern) => Command::DeletePolicy { pattern },
        })?;
        match outcome {
            Outcome::PolicySet(policy) | Outcome::PolicyDeleted(policy) => {
                Ok((state.image, policy))
            }
            Outcome::Formed
            | Outcome::Registered
            | Outcome::ShardsCreated(_)
            | Outcome::TopicCreated(_)
            | Outcome::TopicDeleted { .. }
            | Outcome::TopicAltered(_)
            | Outcome::PartitionsAdded { .. }
            | Outcome::ProducerIds { .. }
            | Outcome::NodeStateSet
            | Outcome::NodeRemoved
            | Outcome::NodeRebuilding { .. }
            | Outcome::ReplicasMoving(_)
            | Outcome::ShardSettled(_)
            | Outcome::MovesPlanned
            | Outcome::PartitionsMoving(_)
            | Outcome::PartitionArrived
            | Outcome::LevelFinalized { .. } => Err(unexpected()),
        }
    }

    /// Lets nodes write the formats of a level from now on. Returns what the cluster was finalized
    /// at before.
    ///
    /// # Errors
    /// `LEVEL_UNSUPPORTED` names the nodes that lack the level.
    pub async fn finalize_level(
        &self,
        level: FormatLevel,
        deadline: Deadline,
    ) -> Result<FormatLevel, MetadataError> {
        let outcome = self.propose(Command::FinalizeLevel { level }, deadline).await?;
        let Outcome::LevelFinalized { before } = outcome else { return Err(unexpected()) };
        Ok(before)
    }

    /// What [`Self::finalize_level`] would do, as far as this node knows.
    ///
    /// # Errors
    /// The refusal that the metadata group would give.
    pub fn preview_finalize_level(&self, level: FormatLevel) -> Result<FormatLevel, MetadataError> {
        let outcome = self.check(Command::FinalizeLevel { level })?;
        let Outcome::LevelFinalized { before } = outcome else { return Err(unexpected()) };
        Ok(before)
    }

    /// What a command would give.
    fn check(&self, command: Command) -> Result<Outcome, MetadataError> {
        Ok(self.try_out(command)?.1)
    }

    /// Applies a command to a copy of the image.
    fn try_out(&self, command: Command) -> Result<(State, Outcome), MetadataError> {
        let image = Image::clone(&self.image());
        let version = image.version;
        let mut state = State { image, ..State::default() };
        let outcome = state_machine::apply(&mut state, version, command)?;
        Ok((state, outcome))
    }

    /// Tells the cluster of this node's start.
    ///
    /// # Errors
    /// Refusals are final: the data directory is not the one the cluster knows.
    pub async fn register_node(
        &self,
        registration: NodeRegistration,
        deadline: Deadline,
    ) -> Result<(), MetadataError> {
        let outcome = self.propose(Command::RegisterNode(registration), deadline).await?;
        if outcome == Outcome::Registered { Ok(()) } else { Err(unexpected()) }
    }

    /// Takes a block of producer ids that nobody had or will have.
    ///
    /// # Errors
    /// A block may be lost; ids are never short.
    pub async fn allocate_producer_ids(
        &self,
        deadline: Deadline,
    ) -> Result<Range<i64>, MetadataError> {
        let command = Command::AllocateProducerIds { count: limits::PRODUCER_ID_BLOCK };
        let outcome = self.propose(command, deadline).await?;
        let Outcome::ProducerIds { first, count } = outcome else { return Err(unexpected()) };
        let count = i64::try_from(count).map_err(|_| unexpected())?;
        Ok(first.get()..first.get().saturating_add(count))
    }
}

/// A failure, and whether any attempt may have arrived.
struct Failed {
    error: MetadataError,
    is_unsure: bool,
}

impl Failed {
    const fn new(error: MetadataError, is_unsure: bool) -> Self {
        Self { error, is_unsure }
    }
}

/// Whom the refusal names, unless that is who was asked.
fn named_leader(error: &ProposeError, asked: NodeId) -> Option<NodeId> {
    match error {
        ProposeError::NotLeader { leader } => leader.filter(|node| *node != asked),
        ProposeError::LeadershipLost
        | ProposeError::TooLarge { .. }
        | ProposeError::Deadline
        | ProposeError::Stopped => None,
    }
}

fn moving(outcome: Outcome) -> Result<TopicRecord, MetadataError> {
    let Outcome::PartitionsMoving(topic) = outcome else { return Err(unexpected()) };
    Ok(topic)
}

fn unexpected() -> MetadataError {
    MetadataError::Unreadable("it is the answer to another command".to_owned())
}
