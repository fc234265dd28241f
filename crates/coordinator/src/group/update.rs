//! Members come and go, and want something else.

use std::collections::BTreeMap;

use quipu_types::{MetadataVersion, PartitionId, PartitionIndex, TimestampMs, TopicId};

use super::{CommittedOffset, Group, Owner};
use crate::command::{Join, Leave, LeaveReason, Subscribed, TopicPartitions};
use crate::member::Member;
use crate::refusal::Refusal;
use crate::{GroupEpoch, GroupName};

/// The parts of an update.
pub(crate) struct Update {
    pub(crate) joins: Vec<Join>,
    pub(crate) leaves: Vec<Leave>,
    pub(crate) subscriptions: Vec<Subscribed>,
    pub(crate) topics: Vec<TopicPartitions>,
    pub(crate) image: MetadataVersion,
}

impl Group {
    /// Changes members and subscriptions: a new epoch, a new target. None of both when everything
    /// is so already.
    pub(crate) fn update(
        &mut self,
        name: &GroupName,
        now: TimestampMs,
        update: Update,
    ) -> Result<GroupEpoch, Refusal> {
        self.check_update(name, &update)?;
        let Update { joins, leaves, subscriptions, topics, image } = update;
        let is_behind = image < self.image;
        self.image = self.image.max(image);
        let mut words = Vec::new();
        for leave in leaves {
            words.extend(self.leave(&leave));
        }
        for join in joins {
            words.push(self.join(join));
        }
        for subscribed in subscriptions {
            if let Some(member) = self.members.get_mut(&subscribed.member) {
                words.push(format!("member {} reads something else", subscribed.member));
                member.subscribe(subscribed, is_behind);
            }
        }
        if self.count(topics, now) && words.is_empty() {
            words.push("topics have other partitions".to_owned());
        }
        if !words.is_empty() {
            self.empty_since =
                if self.members.is_empty() { self.empty_since.or(Some(now)) } else { None };
            self.change(now, words);
        }
        Ok(self.epoch)
    }

    /// Takes over how many partitions topics have; says whether that is something new.
    ///
    /// Partitions are only ever added, so the larger count is the newer one. A topic that is not
    /// listed may be one that the sender does not know yet: it goes once nobody reads it.
    ///
    /// What was added while the group reads the topic is read from its beginning, however the
    /// members choose where to start: records may be there before anybody looks.
    fn count(&mut self, topics: Vec<TopicPartitions>, now: TimestampMs) -> bool {
        let mut counts: BTreeMap<TopicId, u32> =
            topics.into_iter().map(|topic| (topic.topic, topic.partitions)).collect();
        for (topic, known) in &self.topics {
            let is_read = || self.members.values().any(|one| one.resolved().contains(topic));
            match counts.get_mut(topic) {
                Some(count) => {
                    *count = (*count).max(*known);
                    for added in *known..*count {
                        let partition = PartitionId::new(*topic, PartitionIndex::new(added));
                        let begins = || CommittedOffset::beginning(now);
                        self.offsets.entry(partition).or_insert_with(begins);
                    }
                }
                None if is_read() => drop(counts.insert(*topic, *known)),
                None => {}
            }
        }
        let is_new = counts != self.topics;
        self.topics = counts;
        is_new
    }

    fn leave(&mut self, leave: &Leave) -> Option<String> {
        let is_kept = self.is_kept(leave);
        let member = self.members.get_mut(&leave.member)?;
        if is_kept {
            member.is_away = true;
            return Some(format!("member {} is away for a while", leave.member));
        }
        self.members.remove(&leave.member);
        self.owners.retain(|_, owner| owner.member != leave.member);
        let why = match leave.reason {
            LeaveReason::Asked => "left",
            LeaveReason::SessionExpired => "was silent for too long",
            LeaveReason::ProcessingTimeout => "took too long for a record",
        };
        Some(format!("member {} {why}", leave.member))
    }

    fn join(&mut self, join: Join) -> String {
        let (id, epoch) = (join.member.clone(), self.epoch.next());
        // Whoever joins has dropped everything.
        self.owners.retain(|_, owner| owner.member != id);
        let held = join.instance.as_ref().and_then(|instance| self.holder(instance, &id));
        let words = match held.map(|holder| holder.id().clone()) {
            Some(holder) => {
                self.members.remove(&holder);
                // It goes on with what its predecessor had, whose epoch is too old from now on.
                for owner in self.owners.values_mut().filter(|owner| owner.member == holder) {
                    *owner = Owner { member: id.clone(), since: epoch, revoked: None };
                }
                for member in self.target.values_mut().filter(|member| **member == holder) {
                    *member = id.clone();
                }
                format!("member {id} took the place of {holder}")
            }
            None => format!("member {id} joined"),
        };
        self.members.insert(id, Member::new(join, epoch));
        words
    }
}
