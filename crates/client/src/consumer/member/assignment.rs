//! Taking partitions and letting them go, as the coordinator says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quipu_proto::v1;
use quipu_types::{PartitionId, PartitionIndex, TopicId};
use tokio::time::Instant;

use super::{Looked, Member, Taken};
use crate::consumer::Rebalance;
use crate::consumer::TopicPartition;
use crate::error::AckError;
use crate::metrics::Consuming;

/// What the coordinator said last.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    assigned: BTreeMap<PartitionId, Arc<str>>,
    revoking: BTreeSet<PartitionId>,
}

impl Assignment {
    fn from_proto(assignment: v1::Assignment) -> Self {
        Self {
            assigned: named(&assignment.assigned).collect(),
            revoking: named(&assignment.revoking).map(|(id, _)| id).collect(),
        }
    }
}

impl Member {
    /// Takes over what the coordinator said, now or before: what is held and not named is lost,
    /// what is to be let go begins to be, what is new is taken.
    pub(super) fn follow(&mut self, news: Option<v1::Assignment>) {
        if let Some(news) = news {
            self.committing.assignment = Assignment::from_proto(news);
        }
        let assignment = &self.committing.assignment;
        let held: BTreeSet<PartitionId> = self.table.ids().into_iter().collect();
        let until = Instant::now() + self.config.revoke_grace();
        let (mut lost, mut revoked, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        for id in &held {
            if assignment.revoking.contains(id) {
                revoked.extend(self.table.revoke(*id, until));
            } else if !assignment.assigned.contains_key(id) {
                lost.extend(self.table.lose(*id, &AckError::AssignmentLost));
            }
        }
        for (id, topic) in &assignment.assigned {
            if !held.contains(id) {
                let metrics = Consuming::new(&self.client.service, topic, &self.config.group);
                taken.push(self.table.take(*id, topic.clone(), metrics));
            }
        }
        let name = |it: &Taken| TopicPartition::new(it.topic.clone(), it.id.index.get());
        let assigned: Vec<TopicPartition> = taken.iter().map(name).collect();
        self.config.tell(Rebalance::Lost(lost));
        self.config.tell(Rebalance::Revoked(revoked));
        self.config.tell(Rebalance::Assigned(assigned));
        // By topic: one that is gone does not hold the others up.
        let mut by_topic: BTreeMap<TopicId, Vec<Taken>> = BTreeMap::new();
        for taken in taken {
            by_topic.entry(taken.id.topic).or_default().push(taken);
        }
        for taken in by_topic.into_values() {
            let looking = super::origin::look_up(
                self.client.clone(),
                self.config.clone(),
                self.origin.clone(),
                self.coordinator,
                taken,
            );
            self.starting.push(Box::pin(looking));
        }
    }

    /// Positions were found: reading begins.
    pub(super) fn on_looked(&mut self, (taken, found): Looked) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                for taken in &taken {
                    self.table.output.put_failure(taken.id, error.clone());
                }
                return;
            }
        };
        for (taken, found) in taken.iter().zip(found) {
            match found {
                Ok(start) => {
                    self.table.start(taken, start.offset, start.committed, start.is_chosen);
                }
                Err(error) => self.table.output.put_failure(taken.id, error),
            }
        }
    }

    /// Lets go of revoked partitions whose messages are settled and whose positions are
    /// committed, or whose time is up.
    pub(super) fn let_go(&mut self, now: Instant) {
        // A commit that finds no coordinator does not hold a partition for ever.
        let too_late = self.config.session_timeout / 4;
        for id in self.table.settled(now) {
            let until = self.table.release_of(id);
            let is_late = until.is_some_and(|until| now >= until + too_late);
            if is_late || !self.table.is_dirty(id, now) {
                // Its loss was told when it was revoked.
                self.table.lose(id, &AckError::AssignmentLost);
            }
        }
    }
}

/// What is held, in the wire's form.
pub(super) fn held(ids: &[PartitionId]) -> v1::HeldPartitions {
    let mut by_topic: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for id in ids {
        by_topic.entry(id.topic).or_default().push(id.index.get());
    }
    let partitions = by_topic.into_iter().map(|(topic, partitions)| v1::TopicPartitions {
        topic_id: topic.to_bytes().to_vec().into(),
        topic: String::new(),
        partitions,
    });
    v1::HeldPartitions { partitions: partitions.collect() }
}

/// Partitions with the names of their topics.
fn named(topics: &[v1::TopicPartitions]) -> impl Iterator<Item = (PartitionId, Arc<str>)> + '_ {
    topics.iter().flat_map(|topic| {
        let name: Arc<str> = topic.topic.as_str().into();
        let id = TopicId::from_slice(&topic.topic_id);
        topic.partitions.iter().filter_map(move |partition| {
            Some((PartitionId::new(id?, PartitionIndex::new(*partition)), name.clone()))
        })
    })
}
