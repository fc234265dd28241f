//! Time, for the groups of one shard: sessions that end, topics that appear, positions that expire.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use quipu_coordinator::{
    Command, Group, GroupName, Leave, LeaveReason, Outcome, Refusal, Subscribed,
};
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{MetadataVersion, Term, TopicId};

use super::worker::Change;
use super::{GroupError, subscription};
use crate::Broker;
use crate::error::RouteError;

/// How often sessions are looked at.
const TICK: Duration = Duration::from_millis(500);
/// A tick so late means that this node was paused: it heard nobody meanwhile.
const LATE: Duration = Duration::from_secs(2);
/// How often expired positions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long an empty group keeps its positions (Kafka's default).
const RETENTION_MS: u64 = 7 * 24 * 3_600_000;
/// How long a sweep may take.
const WAIT: Duration = Duration::from_secs(10);

/// Looks after a shard's groups while this node leads it, until cancelled.
pub(super) async fn run(broker: Broker, shard: Shard) {
    let mut keeper = Keeper { broker, shard, led: None };
    loop {
        tokio::time::sleep(TICK).await;
        keeper.tick().await;
    }
}

struct Keeper {
    broker: Broker,
    shard: Shard,
    led: Option<Led>,
}

/// What is remembered for as long as this node leads. Times: since the clock's start.
struct Led {
    term: Term,
    ticked: Duration,
    swept: Duration,
    image: MetadataVersion,
}

impl Keeper {
    async fn tick(&mut self) {
        if !self.shard.is_ready_leader() {
            if self.led.take().is_some() {
                let ours = self.names();
                self.broker.inner.coordinator.sessions.retain(|group| !ours.contains(group));
            }
            return;
        }
        let now = self.broker.clock().monotonic();
        let term = self.shard.group().status().borrow().term;
        let is_new = self
            .led
            .as_ref()
            .is_none_or(|led| led.term != term || now.saturating_sub(led.ticked) > LATE);
        if is_new {
            let version = MetadataVersion::new(0);
            self.led = Some(Led { term, ticked: now, swept: now, image: version });
        }
        self.expire(now, is_new).await;
        self.refresh().await;
        let Some(led) = &mut self.led else { return };
        if now.saturating_sub(led.swept) >= SWEEP_INTERVAL {
            led.swept = now;
            self.sweep().await;
        }
        // At the end: slow work above is no pause of the node's.
        if let Some(led) = &mut self.led {
            led.ticked = self.broker.clock().monotonic();
        }
    }

    fn names(&self) -> BTreeSet<GroupName> {
        self.shard.groups().read(|groups| groups.names().cloned().collect())
    }

    /// Members whose session is over leave.
    async fn expire(&self, now: Duration, grant: bool) {
        let sessions = &self.broker.inner.coordinator.sessions;
        let over = self.shard.groups().read(|groups| {
            let mut over = Vec::new();
            for name in groups.names() {
                let members = groups.group(name).into_iter().flat_map(Group::members);
                let members = members.map(|member| {
                    let timeout = u64::from(member.session_timeout_ms());
                    (member.id().clone(), Duration::from_millis(timeout))
                });
                let silent = sessions.review(name, members, now, grant);
                over.extend(silent.into_iter().map(|member| {
                    let found = groups.group(name).and_then(|group| group.member(&member));
                    let joined = found.map(quipu_coordinator::Member::joined);
                    (name.clone(), member, joined)
                }));
            }
            over
        });
        let leaves = over.into_iter().map(async |(group, member, joined)| {
            tracing::info!(group = group.as_str(), %member, "a member was silent for too long");
            let leave = Leave {
                member: member.clone(),
                reason: LeaveReason::SessionExpired,
                temporary: false,
                joined,
            };
            let left = self.broker.change_group(&self.shard, &group, Change::Leave(leave)).await;
            match left {
                Ok(()) => sessions.remove_silent(&group, &member, now),
                // It joined again meanwhile: its new session goes on.
                Err(GroupError::Refused(Refusal::StaleLeave { .. })) => {}
                Err(error) => {
                    tracing::warn!(group = group.as_str(), %member, %error, "not expired")
                }
            }
        });
        join_all(leaves).await;
    }

    /// New topics for patterns and names, other numbers of partitions.
    async fn refresh(&mut self) {
        let image = self.broker.image();
        let Some(led) = &mut self.led else { return };
        if led.image == image.version {
            return;
        }
        let changes = self.shard.groups().read(|groups| {
            let found = groups.names().filter_map(|name| Some((name, groups.group(name)?)));
            found.flat_map(|(name, group)| changes(name, group, &image)).collect::<Vec<_>>()
        });
        let made = changes.into_iter().map(async |(group, change)| {
            let changed = self.broker.change_group(&self.shard, &group, change).await;
            changed.inspect_err(|error| {
                tracing::warn!(group = group.as_str(), %error, "topics are not refreshed yet");
            })
        });
        // Only what was done needs no other try.
        if join_all(made).await.into_iter().all(|made| made.is_ok()) {
            led.image = image.version;
        }
    }

    /// Groups nobody used for long, positions in topics that were deleted.
    async fn sweep(&self) {
        let (topics, is_due): (BTreeSet<TopicId>, bool) = self.shard.groups().read(|groups| {
            let found = groups.names().filter_map(|name| groups.group(name));
            let mut topics = BTreeSet::new();
            let mut is_due = false;
            for group in found {
                topics.extend(group.offsets().map(|(partition, _)| partition.topic));
                is_due |= group.empty_since().is_some();
            }
            (topics, is_due)
        });
        let deadline = Deadline::after(self.broker.clock(), WAIT);
        let known = self.broker.image_knowing(topics.iter().copied(), deadline).await;
        let is_gone = |topic: &TopicId| {
            known.image.topic_by_id(topic).is_none()
                && matches!(known.missing(*topic), RouteError::UnknownTopicId { .. })
        };
        let gone: Vec<TopicId> = topics.into_iter().filter(is_gone).collect();
        if gone.is_empty() && !is_due {
            return;
        }
        let command = Command::Sweep { retention_ms: RETENTION_MS, gone };
        match self.broker.propose_group(&self.shard, &command, deadline).await {
            Ok(Outcome::Swept { groups, offsets }) if groups + offsets > 0 => {
                tracing::info!(groups, offsets, "groups and positions that expired are gone");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "expired positions are not swept yet"),
        }
    }
}

/// What an image changes for a group.
fn changes(name: &GroupName, group: &Group, image: &Image) -> Vec<(GroupName, Change)> {
    let mut changes = Vec::new();
    // An older image has nothing to say: this node's becomes as new.
    if image.version < group.image() {
        return changes;
    }
    for member in group.members() {
        let resolved = subscription::resolve(member.topics(), member.patterns(), image);
        if resolved != member.resolved() {
            let subscribed = Subscribed {
                member: member.id().clone(),
                topics: member.topics().to_vec(),
                patterns: member.patterns().to_vec(),
                resolved,
            };
            changes.push((name.clone(), Change::Subscribe(subscribed)));
        }
    }
    let counts = |(topic, count): (&TopicId, &u32)| {
        let found = image.topic_by_id(topic).map(|topic| topic.partitions.len());
        found.is_none_or(|found| u32::try_from(found).is_ok_and(|found| found <= *count))
    };
    // One that a command left out, computed while another was under way.
    let is_missing =
        |topic: &TopicId| image.topic_by_id(topic).is_some() && !group.topics().contains_key(topic);
    let is_incomplete =
        group.members().flat_map(quipu_coordinator::Member::resolved).any(is_missing);
    if changes.is_empty() && (is_incomplete || !group.topics().iter().all(counts)) {
        changes.push((name.clone(), Change::Recount));
    }
    changes
}
