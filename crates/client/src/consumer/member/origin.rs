//! Where reading starts: the group's positions, or what the subscription says, fixed at the
//! moment it began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, PartitionId, PartitionIndex, Retry, TimestampMs, TopicId};

use super::{Looked, Taken};
use crate::call::{Call, Target};
use crate::client::{Shared, cluster_service, groups_service};
use crate::cluster_view::Topic;
use crate::consumer::config::{Config, StartAt};
use crate::error::NoPosition;
use crate::position::{End, Start};
use crate::reader::bounds;
use crate::{Error, Result, backoff, clock};

/// What was so when the subscription began.
#[derive(Debug)]
pub(in crate::consumer) struct Origin {
    now: TimestampMs,
    topics: BTreeMap<TopicId, Known>,
}

/// A topic that was there.
#[derive(Debug, Default)]
struct Known {
    /// Its partitions, without those that are new to the group.
    partitions: u32,
    /// Of those, where the latest is asked for.
    ends: BTreeMap<u32, u64>,
}

/// Where a partition starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) offset: u64,
    pub(super) committed: Option<u64>,
    /// It should be stored, for it would be another one later.
    pub(super) is_chosen: bool,
}

/// Of one partition.
pub(super) type Found = Result<Beginning>;

impl Origin {
    /// Looks up what is named, so that a topic that does not exist is an error of the caller.
    pub(in crate::consumer) async fn find(client: &Shared, config: &Config) -> Result<Self> {
        let mut origin = Self { now: clock::wall(), topics: BTreeMap::new() };
        let mut named = Vec::new();
        for name in &config.topics {
            let topic = client.topic(name).await?;
            origin.note(topic.id, topic.partitions());
            named.push(topic);
        }
        // To the earliest nothing is new.
        if config.start != StartAt::Position(Start::Earliest) {
            origin.note_known(client, config).await?;
        }
        if config.start == StartAt::Position(Start::Latest) {
            for topic in named {
                origin.note_ends(client, &topic).await?;
            }
        }
        Ok(origin)
    }

    fn note(&mut self, topic: TopicId, partitions: u32) {
        let known = self.topics.entry(topic).or_default();
        known.partitions = known.partitions.max(partitions);
    }

    /// Notes the topics there are, all of them for a pattern: one that matches it later is
    /// younger.
    async fn note_known(&mut self, client: &Shared, config: &Config) -> Result<()> {
        let call =
            Call { action: "look up topics".to_owned(), target: Target::Any, is_repeatable: true };
        let (names, all_topics) = (config.topics.clone(), !config.patterns.is_empty());
        let request = v1::MetadataRequest { names, all_topics, ..Default::default() };
        let asked = client.call(&call, request, |channel, request| async move {
            cluster_service(channel).metadata(request).await
        });
        let answer = asked.await?.0;
        let read = read_of(stored(client, config, None, &[]).await?.into_keys());
        for topic in answer.topics {
            let Some(id) = TopicId::from_slice(&topic.topic_id) else { continue };
            self.note(id, u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX));
            if let Some(read) = read.get(&id) {
                self.forget_added(id, topic.partitions_first.max(*read));
            }
        }
        Ok(())
    }

    /// Partitions from `first` on were added since the group read the topic.
    fn forget_added(&mut self, topic: TopicId, first: u32) {
        if let Some(known) = self.topics.get_mut(&topic) {
            known.partitions = known.partitions.min(first);
        }
    }

    async fn note_ends(&mut self, client: &Shared, topic: &Topic) -> Result<()> {
        let Some(known) = self.topics.get_mut(&topic.id) else { return Ok(()) };
        let all: Vec<u32> = (0..known.partitions).collect();
        let meant = (Start::Latest, End::Never, self.now);
        let found = bounds::find(client, topic, &all, meant).await?;
        known.ends = found.into_iter().map(|(index, found)| (index, found.start)).collect();
        Ok(())
    }

    /// What the subscription means for a partition: what was not there yet is read from its
    /// beginning, however it says to start. `None`: nowhere.
    fn start_of(&self, id: PartitionId, start: StartAt) -> Option<Start> {
        let known = self.topics.get(&id.topic);
        let known = known.filter(|known| id.index.get() < known.partitions);
        let (Some(known), StartAt::Position(start)) = (known, start) else {
            return known.is_none().then_some(Start::Earliest);
        };
        let end = known.ends.get(&id.index.get()).filter(|_| start == Start::Latest);
        Some(end.map_or(start, |end| Start::Offset(*end)))
    }
}

/// How many partitions of each topic a group has read: it has a position in each there was, so
/// those behind the last that were added later are new to it, perhaps added while nobody read.
fn read_of(stored: impl Iterator<Item = PartitionId>) -> BTreeMap<TopicId, u32> {
    let mut read: BTreeMap<TopicId, u32> = BTreeMap::new();
    for partition in stored {
        let count = read.entry(partition.topic).or_default();
        *count = (*count).max(partition.index.get().saturating_add(1));
    }
    read
}

/// Finds where to start partitions of one topic, however long it takes: those that are lost
/// meanwhile are left out. An error stands for all.
pub(super) async fn look_up(
    client: Arc<Shared>,
    config: Arc<Config>,
    origin: Arc<Origin>,
    coordinator: Option<NodeId>,
    mut taken: Vec<Taken>,
) -> Looked {
    let mut attempts = 0;
    loop {
        attempts += 1;
        taken.retain(|taken| taken.fate.get().is_none());
        // What the coordinator refused to say is asked of any node, which leads on.
        let target = coordinator.filter(|_| attempts == 1);
        match attempt(&client, &config, &origin, target, &taken).await {
            // Also where no server had a say: a node that is not known yet.
            Err(error)
                if error.retry() != Retry::Never
                    || error.is_not_found()
                    || error.code().is_none() =>
            {
                tracing::debug!(group = %config.group, %error, "look up positions");
                tokio::time::sleep(backoff::pause(attempts, Duration::ZERO)).await;
            }
            found => return (taken, found),
        }
    }
}

async fn attempt(
    client: &Shared,
    config: &Config,
    origin: &Origin,
    coordinator: Option<NodeId>,
    taken: &[Taken],
) -> Result<Vec<Found>> {
    let ids: Vec<PartitionId> = taken.iter().map(|taken| taken.id).collect();
    let stored = stored(client, config, coordinator, &ids).await?;
    let Some(first) = taken.first() else { return Ok(Vec::new()) };
    // Even where nothing is to be chosen: the fetcher finds leaders by the topic's name.
    let topic = topic(client, first).await?;
    let is_open = |id: &PartitionId| !stored.contains_key(id);
    let open: Vec<PartitionId> = ids.into_iter().filter(is_open).collect();
    let chosen = choose(client, origin, config.start, &topic, &open).await?;
    let is_chosen = config.start != StartAt::Position(Start::Earliest);
    let found = taken.iter().map(|taken| {
        let committed = stored.get(&taken.id).copied();
        match committed.or_else(|| chosen.get(&taken.id).copied()) {
            Some(offset) => {
                Ok(Beginning { offset, committed, is_chosen: committed.is_none() && is_chosen })
            }
            None => Err(Error::NoPosition(Arc::new(NoPosition {
                group: config.group.clone(),
                topic: taken.topic.clone(),
                partition: taken.id.index.get(),
            }))),
        }
    });
    Ok(found.collect())
}

/// The group's positions in these partitions, or in all when none is named.
async fn stored(
    client: &Shared,
    config: &Config,
    coordinator: Option<NodeId>,
    ids: &[PartitionId],
) -> Result<BTreeMap<PartitionId, u64>> {
    let call = Call {
        action: format!("read the positions of group {:?}", config.group),
        target: coordinator.map_or(Target::Any, Target::Node),
        is_repeatable: true,
    };
    let request = v1::FetchOffsetsRequest {
        group: config.group.to_string(),
        partitions: super::assignment::held(ids).partitions,
        timeout_ms: 5_000,
    };
    let asked = client.call(&call, request, |channel, request| async move {
        groups_service(channel).fetch_offsets(request).await
    });
    let offsets = asked.await?.0.offsets.into_iter();
    let stored = offsets.filter_map(|stored| {
        let topic = TopicId::from_slice(&stored.topic_id)?;
        Some((PartitionId::new(topic, PartitionIndex::new(stored.partition)), stored.offset))
    });
    Ok(stored.collect())
}

/// Starts for partitions of one topic in which the group has no position.
async fn choose(
    client: &Shared,
    origin: &Origin,
    start: StartAt,
    topic: &Topic,
    open: &[PartitionId],
) -> Result<BTreeMap<PartitionId, u64>> {
    let mut alike: Vec<(Start, Vec<u32>)> = Vec::new();
    for id in open {
        let Some(start) = origin.start_of(*id, start) else { continue };
        match alike.iter_mut().find(|(known, _)| *known == start) {
            Some((_, indexes)) => indexes.push(id.index.get()),
            None => alike.push((start, vec![id.index.get()])),
        }
    }
    let mut chosen = BTreeMap::new();
    for (start, indexes) in alike {
        let meant = (start, End::Never, origin.now);
        for (index, found) in bounds::find(client, topic, &indexes, meant).await? {
            chosen.insert(PartitionId::new(topic.id, PartitionIndex::new(index)), found.start);
        }
    }
    Ok(chosen)
}

/// The topic, as it is to be known before it can be read. One of the same name but another id was
/// deleted and created again.
async fn topic(client: &Shared, taken: &Taken) -> Result<Arc<Topic>> {
    let topic = client.topic(&taken.topic).await?;
    if topic.id == taken.id.topic {
        return Ok(topic);
    }
    client.view.forget_topic(&taken.topic);
    let topic = client.topic(&taken.topic).await?;
    let text = || format!("topic {:?} has another id now", taken.topic);
    if topic.id == taken.id.topic {
        Ok(topic)
    } else {
        Err(Error::local(ErrorCode::UnknownTopicId, text()))
    }
}
