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
    /// Partitions of each topic there was; of those named, with their ends.
    topics: BTreeMap<TopicId, (u32, BTreeMap<u32, u64>)>,
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
        let is_latest = config.start == StartAt::Position(Start::Latest);
        for name in &config.topics {
            let topic = client.topic(name).await?;
            let mut ends = BTreeMap::new();
            if is_latest {
                let all: Vec<u32> = (0..topic.partitions()).collect();
                let meant = (Start::Latest, End::Never, origin.now);
                let found = bounds::find(client, &topic, &all, meant).await?;
                ends = found.into_iter().map(|(index, found)| (index, found.start)).collect();
            }
            origin.topics.insert(topic.id, (topic.partitions(), ends));
        }
        if is_latest && !config.patterns.is_empty() {
            origin.note_all(client).await?;
        }
        Ok(origin)
    }

    /// Notes all topics there are: one that matches a pattern later is younger.
    async fn note_all(&mut self, client: &Shared) -> Result<()> {
        let call =
            Call { action: "list topics".to_owned(), target: Target::Any, is_repeatable: true };
        let request = v1::MetadataRequest { all_topics: true, ..Default::default() };
        let asked = client.call(&call, request, |channel, request| async move {
            cluster_service(channel).metadata(request).await
        });
        for topic in asked.await?.0.topics {
            let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            if let Some(id) = TopicId::from_slice(&topic.topic_id) {
                self.topics.entry(id).or_insert((count, BTreeMap::new()));
            }
        }
        Ok(())
    }

    /// What `start` means for a partition: what was not there yet is read from its beginning.
    fn start_of(&self, id: PartitionId, start: Start) -> Start {
        if start != Start::Latest {
            return start;
        }
        match self.topics.get(&id.topic) {
            Some((count, ends)) if id.index.get() < *count => {
                ends.get(&id.index.get()).map_or(Start::Latest, |end| Start::Offset(*end))
            }
            Some(_) | None => Start::Earliest,
        }
    }
}

/// Finds where to start partitions of one topic, however long it takes. An error stands for all.
pub(super) async fn look_up(
    client: Arc<Shared>,
    config: Arc<Config>,
    origin: Arc<Origin>,
    coordinator: Option<NodeId>,
    taken: Vec<Taken>,
) -> Looked {
    let mut attempts = 0;
    loop {
        attempts += 1;
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
    let stored = stored(client, config, coordinator, taken).await?;
    let Some(first) = taken.first() else { return Ok(Vec::new()) };
    // Even where nothing is to be chosen: the fetcher finds leaders by the topic's name.
    let topic = topic(client, first).await?;
    let is_open = |id: &PartitionId| !stored.contains_key(id);
    let open: Vec<PartitionId> = taken.iter().map(|taken| taken.id).filter(is_open).collect();
    let chosen = match config.start {
        StartAt::Position(start) => choose(client, origin, start, &topic, &open).await?,
        StartAt::None => BTreeMap::new(),
    };
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

/// The group's positions.
async fn stored(
    client: &Shared,
    config: &Config,
    coordinator: Option<NodeId>,
    taken: &[Taken],
) -> Result<BTreeMap<PartitionId, u64>> {
    let ids: Vec<PartitionId> = taken.iter().map(|taken| taken.id).collect();
    let call = Call {
        action: format!("read the positions of group {:?}", config.group),
        target: coordinator.map_or(Target::Any, Target::Node),
        is_repeatable: true,
    };
    let request = v1::FetchOffsetsRequest {
        group: config.group.to_string(),
        partitions: super::assignment::held(&ids).partitions,
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
    start: Start,
    topic: &Topic,
    open: &[PartitionId],
) -> Result<BTreeMap<PartitionId, u64>> {
    let mut alike: Vec<(Start, Vec<u32>)> = Vec::new();
    for id in open {
        let start = origin.start_of(*id, start);
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
