//! The topics of a run and their partitions.

use std::sync::Arc;

use crate::history::{Acks, Partition};

/// Read by the group; appends are acknowledged by a quorum.
pub(super) const EVENTS: Topic = Topic { name: "events", partitions: 4, acks: Acks::Quorum };
/// Appends are acknowledged by the leader alone: they may be lost with it.
pub(super) const FLEETING: Topic = Topic { name: "fleeting", partitions: 2, acks: Acks::Leader };
/// Its records are deleted now and then.
pub(super) const TRIMMED: Topic = Topic { name: "trimmed", partitions: 2, acks: Acks::Quorum };
/// All of them.
pub(super) const TOPICS: [Topic; 3] = [EVENTS, FLEETING, TRIMMED];

/// A topic of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) partitions: u32,
    /// How its appends are acknowledged.
    pub(super) acks: Acks,
}

/// A partition of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) index: u32,
}

impl Place {
    pub(super) fn new(topic: &str, index: u32) -> Self {
        Self { topic: topic.into(), index }
    }

    /// As the history names it.
    pub(super) fn name(&self) -> Partition {
        let name = format!("{}/{}", self.topic, self.index);
        name.parse().expect("a topic and an index")
    }

    pub(super) fn all_of(topic: Topic) -> impl Iterator<Item = Self> {
        (0..topic.partitions).map(move |index| Self::new(topic.name, index))
    }

    pub(super) fn all() -> Vec<Self> {
        TOPICS.into_iter().flat_map(Self::all_of).collect()
    }
}
