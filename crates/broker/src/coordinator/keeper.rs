//! Time, for the groups of one shard: sessions that end, topics that appear, positions that expire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use metrics::{counter, gauge};
use quipu_coordinator::{
    Command, Group, GroupName, Leave, LeaveReason, Outcome, Refusal, Subscribed,
};
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{MetadataVersion, Offset, PartitionId, Term, TimestampMs, TopicId};

use super::admin::positions;
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
/// How often lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How long a measurement or a sweep may take.
const WAIT: Duration = Duration::from_secs(10);

const LAG: &str = "quipu_group_lag_messages";
const LAG_SECONDS: &str = "quipu_group_lag_seconds";
const MEMBERS: &str = "quipu_group_members";
const COMMITTED: &str = "quipu_group_committed_offset";
const REBALANCES: &str = "quipu_group_rebalances_total";
const UNREAD: &str = "quipu_group_unread_deleted_total";

/// Registers descriptions.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(LAG, Unit::Count, "Records that a group has not read, by topic.");
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the oldest of them, by topic.");
    describe_gauge!(MEMBERS, Unit::Count, "Members of a group.");
    describe_gauge!(COMMITTED, Unit::Count, "Stored positions of a group, summed by topic.");
    describe_counter!(REBALANCES, Unit::Count, "How often a group's assignment was computed.");
    describe_counter!(UNREAD, Unit::Count, "Records that were removed before a group read them.");
}

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
    measured: Duration,
    image: MetadataVersion,
    /// The log start up to which losses were counted.
    lost: BTreeMap<(GroupName, PartitionId), Offset>,
    rebalances: BTreeMap<GroupName, u64>,
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
            self.led = Some(Led {
                term,
                ticked: now,
                swept: now,
                measured: Duration::ZERO,
                image: version,
                lost: BTreeMap::new(),
                rebalances: BTreeMap::new(),
            });
        }
        self.expire(now, is_new).await;
        self.refresh().await;
        let Some(led) = &mut self.led else { return };
        let is_sweep_due = now.saturating_sub(led.swept) >= SWEEP_INTERVAL;
        let is_lag_due = now.saturating_sub(led.measured) >= LAG_INTERVAL;
        if is_sweep_due {
            led.swept = now;
        }
        if is_lag_due {
            led.measured = now;
        }
        if is_sweep_due {
            self.sweep().await;
        }
        if is_lag_due {
            self.measure().await;
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

    /// Lag of every group, as metrics.
    async fn measure(&mut self) {
        let groups: Vec<(GroupName, Group)> = self.shard.groups().read(|groups| {
            let found = groups.names().filter_map(|name| Some((name.clone(), groups.group(name)?)));
            found.map(|(name, group)| (name, group.clone())).collect()
        });
        for (name, group) in groups {
            self.measure_group(&name, &group).await;
        }
    }

    async fn measure_group(&mut self, name: &GroupName, group: &Group) {
        let label = name.as_str().to_owned();
        let count = u32::try_from(group.members().count()).unwrap_or(u32::MAX);
        gauge!(MEMBERS, "group" => label.clone()).set(f64::from(count));
        let deadline = Deadline::after(self.broker.clock(), WAIT);
        let positions = positions(group);
        let topics: Vec<TopicId> = positions.keys().map(|partition| partition.topic).collect();
        let known = self.broker.image_knowing(topics.into_iter(), deadline).await;
        let asked = positions.iter().map(|(partition, position)| (*partition, *position)).collect();
        let standings = self.broker.reader_standings(&known, asked, deadline).await;
        let now = TimestampMs::new(self.broker.clock().wall_ms());
        let mut by_topic: BTreeMap<TopicId, TopicLag> = BTreeMap::new();
        let Some(led) = &mut self.led else { return };
        for (partition, standing) in &standings {
            let position = positions.get(partition).copied().flatten();
            let lag = by_topic.entry(partition.topic).or_default();
            lag.messages = lag.messages.saturating_add(standing.lag(position));
            lag.milliseconds = lag.milliseconds.max(standing.lag_ms(now));
            // Any number may be committed by hand.
            lag.committed = lag.committed.saturating_add(position.map_or(0, Offset::get));
            let start = standing.progress.log_start();
            let key = (name.clone(), *partition);
            let counted = led.lost.get(&key).copied().or(position);
            if let Some(from) = position.max(counted).filter(|from| start > *from) {
                let lost = start.get() - from.get();
                tracing::warn!(group = name.as_str(), %partition, lost, position = ?position,
                    log_start = %start, "records were removed before the group read them");
                counter!(UNREAD, "group" => label.clone()).increment(lost);
                led.lost.insert(key, start);
            }
        }
        for (topic, lag) in by_topic {
            let Some(topic) = known.image.topic_by_id(&topic) else { continue };
            let topic = topic.name.as_str().to_owned();
            gauge!(LAG, "group" => label.clone(), "topic" => topic.clone())
                .set(to_f64(lag.messages));
            gauge!(LAG_SECONDS, "group" => label.clone(), "topic" => topic.clone())
                .set(to_f64(lag.milliseconds) / 1e3);
            gauge!(COMMITTED, "group" => label.clone(), "topic" => topic)
                .set(to_f64(lag.committed));
        }
        let now = group.rebalances();
        let before = led.rebalances.insert(name.clone(), now).unwrap_or(now);
        let more = now.saturating_sub(before);
        counter!(REBALANCES, "group" => label).increment(more);
    }
}

/// One topic's share of a group's lag.
#[derive(Default)]
struct TopicLag {
    messages: u64,
    milliseconds: u64,
    committed: u64,
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

fn to_f64(count: u64) -> f64 {
    // Metrics are doubles; beyond 2^53 the last digits do not matter.
    count as f64
}
