//! One member's stream: it says what it wants and holds, and hears what it has.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_consensus::GroupStatus;
use quipu_coordinator::{
    Assignment, Assignor, Confirmation, GroupEpoch, GroupName, Join, Leave, LeaveReason, MemberId,
    Refusal, Subscribed,
};
use quipu_shard::Shard;
use quipu_types::TopicId;
use tokio::sync::watch;

use super::session::Session;
use super::subscription::Wanted;
use super::worker::Change;
use super::{GroupError, subscription};
use crate::Broker;

/// Used when a member names none (Kafka's default).
const SESSION_TIMEOUT_MS_DEFAULT: u32 = 45_000;
const SESSION_TIMEOUT_MS_MIN: u32 = 6_000;
const SESSION_TIMEOUT_MS_MAX: u32 = 1_800_000;
/// Used when a member names none (Kafka's default).
const PROCESSING_TIMEOUT_MS_DEFAULT: u32 = 300_000;
const PROCESSING_TIMEOUT_MS_MIN: u32 = 1_000;
const PROCESSING_TIMEOUT_MS_MAX: u32 = 86_400_000;
/// Heartbeats come at least this often, so that a short session survives a few lost ones.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(3);
/// Heartbeats per session.
const HEARTBEATS_PER_SESSION: u32 = 10;

/// Partitions a member holds.
pub type Held = BTreeMap<TopicId, Vec<u32>>;

/// What a member says first.
#[derive(Clone, Debug)]
pub struct JoinCommand {
    /// The group.
    pub group: String,
    /// The member's own id.
    pub member: String,
    /// 0 to join anew; else the last epoch it heard.
    pub epoch: u64,
    /// Who it is and what it wants.
    pub subscription: Subscription,
    /// What it holds.
    pub held: Held,
}

/// Who a member is and what it wants.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Topics and patterns.
    pub wanted: Wanted,
    /// How partitions are shared.
    pub assignor: Assignor,
    /// Name of the service.
    pub client: String,
    /// Where it runs.
    pub host: String,
    /// Its lasting name, if it has one.
    pub instance: Option<String>,
    /// 0: the default. Unit: milliseconds.
    pub session_timeout_ms: u32,
    /// 0: the default. Unit: milliseconds.
    pub processing_timeout_ms: u32,
}

/// What a member says later.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// The last epoch it heard.
    pub epoch: u64,
    /// What it wants, when that changed.
    pub wanted: Option<Wanted>,
    /// What it holds, when that changed.
    pub held: Option<Held>,
    /// That it goes.
    pub leaving: Option<Leaving>,
}

/// How a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// For good.
    Now,
    /// A static member that comes back.
    Temporarily,
    /// Its handler took too long.
    Stuck,
}

/// A member's place in its group, for as long as its stream lasts. Dropping it ends the stream,
/// not the membership: that lasts until the session times out.
pub struct Membership {
    broker: Broker,
    shard: Shard,
    group: GroupName,
    member: MemberId,
    stream: u64,
    session_timeout: Duration,
    changes: watch::Receiver<u64>,
    standing: watch::Receiver<GroupStatus>,
    told: Option<Assignment>,
    /// What it holds, as it said last.
    held: Held,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Subscription {
    fn check(&mut self) -> Result<(), GroupError> {
        let session = (SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX);
        let processing = (PROCESSING_TIMEOUT_MS_MIN, PROCESSING_TIMEOUT_MS_MAX);
        or_default(&mut self.session_timeout_ms, SESSION_TIMEOUT_MS_DEFAULT);
        or_default(&mut self.processing_timeout_ms, PROCESSING_TIMEOUT_MS_DEFAULT);
        within("session_timeout_ms", self.session_timeout_ms, session)?;
        within("processing_timeout_ms", self.processing_timeout_ms, processing)?;
        if let Some(instance) = &self.instance {
            member_id("instance_id", instance)?;
        }
        Ok(())
    }
}

fn or_default(value: &mut u32, default: u32) {
    if *value == 0 {
        *value = default;
    }
}

fn within(field: &'static str, actual: u32, (min, max): (u32, u32)) -> Result<(), GroupError> {
    if (min..=max).contains(&actual) {
        return Ok(());
    }
    Err(GroupError::OutOfBounds {
        field,
        actual: u64::from(actual),
        bounds: format!("{min} to {max}, or 0 for the default"),
    })
}

pub(super) fn member_id(field: &'static str, given: &str) -> Result<MemberId, GroupError> {
    MemberId::new(given).map_err(|source| GroupError::InvalidMember { field, source })
}

impl Broker {
    /// Makes a member of somebody, or goes on with one that lost its stream.
    ///
    /// Dropping the future may leave a member behind; its session times out.
    ///
    /// # Errors
    /// [`GroupError`]; `UNKNOWN_MEMBER` asks the member to join anew with epoch 0.
    pub async fn join_group(&self, mut command: JoinCommand) -> Result<Membership, GroupError> {
        let (group, shard) = self.coordinated(&command.group)?;
        let member = member_id("member_id", &command.member)?;
        command.subscription.check()?;
        let now = self.clock().monotonic();
        let session_ms = command.subscription.session_timeout_ms;
        let session_timeout = Duration::from_millis(u64::from(session_ms));
        let stream = self.inner.coordinator.next_stream();
        let session = Session { heard: now, timeout: session_timeout, stream: Some(stream) };
        if command.epoch == 0 {
            self.admit_member(&shard, &group, &member, &command.subscription).await?;
        } else {
            let is_known = shard.groups().read(|groups| {
                // Whoever is away has dropped everything, and joins anew.
                let member = groups.group(&group).and_then(|group| group.member(&member));
                member.is_some_and(|member| !member.is_away())
            });
            if !is_known {
                let member = command.member;
                return Err(Refusal::UnknownMember { group, member }.into());
            }
        }
        self.inner.coordinator.sessions.open(&group, &member, session);
        let mut membership = Membership {
            broker: self.clone(),
            changes: shard.groups().changes(),
            standing: shard.group().status(),
            shard,
            group,
            member,
            stream,
            session_timeout,
            told: None,
            held: Held::new(),
        };
        if command.epoch > 0 {
            let wanted = Some(command.subscription.wanted);
            let held = Some(command.held);
            let beat = Heartbeat { epoch: command.epoch, wanted, held, leaving: None };
            membership.beat(beat).await?;
        }
        Ok(membership)
    }

    async fn admit_member(
        &self,
        shard: &Shard,
        group: &GroupName,
        member: &MemberId,
        subscription: &Subscription,
    ) -> Result<(), GroupError> {
        let holder = subscription.instance.as_ref().and_then(|instance| {
            shard.groups().read(|groups| {
                let members = groups.group(group)?.members();
                let holds = |found: &&quipu_coordinator::Member| found.instance() == Some(instance);
                members.into_iter().find(holds).map(|found| found.id().clone())
            })
        });
        // A holder whose stream stands is alive; one that lost it may be replaced at once.
        let is_live = |holder: &MemberId| {
            let session = self.inner.coordinator.sessions.get(group, holder);
            session.is_some_and(|session| session.stream.is_some())
        };
        let join = Join {
            member: member.clone(),
            instance: subscription.instance.clone(),
            replaces: holder.filter(|holder| !is_live(holder)),
            client: subscription.client.clone(),
            host: subscription.host.clone(),
            topics: subscription.wanted.topics.clone(),
            patterns: subscription.wanted.patterns.clone(),
            resolved: subscription.wanted.resolve(&self.image()),
            assignor: subscription.assignor,
            session_timeout_ms: subscription.session_timeout_ms,
            processing_timeout_ms: subscription.processing_timeout_ms,
        };
        self.change_group(shard, group, Change::Join(join)).await
    }
}

impl Membership {
    /// How often heartbeats are to come.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        (self.session_timeout / HEARTBEATS_PER_SESSION).min(HEARTBEAT_INTERVAL_MAX)
    }

    /// Takes a heartbeat; false when the member has left.
    ///
    /// # Errors
    /// [`GroupError`] ends the stream.
    pub async fn beat(&mut self, beat: Heartbeat) -> Result<bool, GroupError> {
        self.check_leads()?;
        let sessions = &self.broker.inner.coordinator.sessions;
        let now = self.broker.clock().monotonic();
        if !sessions.heard(&self.group, &self.member, self.stream, now) {
            return Err(GroupError::Superseded { member: self.member.to_string() });
        }
        if let Some(leaving) = beat.leaving {
            self.leave(leaving).await?;
            return Ok(false);
        }
        if let Some(wanted) = beat.wanted {
            self.want(wanted).await?;
        }
        if let Some(held) = beat.held {
            self.held = held;
        }
        // Also when it said nothing new: what it is to let go it may never have had.
        self.confirm(beat.epoch).await?;
        Ok(true)
    }

    fn check_leads(&self) -> Result<(), GroupError> {
        self.broker.led_shard(self.shard.id()).map(drop).map_err(GroupError::from)
    }

    async fn leave(&self, leaving: Leaving) -> Result<(), GroupError> {
        let (reason, temporary) = match leaving {
            Leaving::Now => (LeaveReason::Asked, false),
            Leaving::Temporarily => (LeaveReason::Asked, true),
            Leaving::Stuck => (LeaveReason::ProcessingTimeout, false),
        };
        // The session's check says that this stream speaks for the member.
        let leave = Leave { member: self.member.clone(), reason, temporary, joined: None };
        self.broker.change_group(&self.shard, &self.group, Change::Leave(leave)).await?;
        if !temporary {
            self.broker.inner.coordinator.sessions.remove(&self.group, &self.member);
        }
        Ok(())
    }

    /// Changes the subscription, if it is another.
    async fn want(&self, wanted: Wanted) -> Result<(), GroupError> {
        let resolved =
            subscription::resolve(&wanted.topics, &wanted.patterns, &self.broker.image());
        let is_same = self.shard.groups().read(|groups| {
            let member = groups.group(&self.group).and_then(|group| group.member(&self.member));
            member.is_some_and(|member| {
                member.topics() == wanted.topics
                    && member.patterns() == wanted.patterns
                    && member.resolved() == resolved
            })
        });
        if is_same {
            return Ok(());
        }
        let Wanted { topics, patterns } = wanted;
        let subscribed = Subscribed { member: self.member.clone(), topics, patterns, resolved };
        self.broker.change_group(&self.shard, &self.group, Change::Subscribe(subscribed)).await
    }

    /// Gives away what the member was told to let go and does not hold any more.
    async fn confirm(&self, epoch: u64) -> Result<(), GroupError> {
        let held = &self.held;
        let is_held = |id: &quipu_types::PartitionId| {
            held.get(&id.topic).is_some_and(|indexes| indexes.contains(&id.index.get()))
        };
        let has_released = self.shard.groups().read(|groups| {
            let group = groups.group(&self.group)?;
            let assignment = group.assignment(&self.member)?;
            // Only what was said after it heard of the revocation counts.
            let is_told = |id: &quipu_types::PartitionId| {
                let revoked = group.owner(*id).and_then(|owner| owner.revoked);
                revoked.is_some_and(|revoked| revoked.get() <= epoch)
            };
            Some(assignment.revoking.iter().any(|id| !is_held(id) && is_told(id)))
        });
        match has_released {
            Some(true) => {
                let (member, epoch) = (self.member.clone(), GroupEpoch::new(epoch));
                let confirmation = Confirmation { member, epoch, owned: held.clone() };
                let change = Change::Confirm(confirmation);
                self.broker.change_group(&self.shard, &self.group, change).await
            }
            Some(false) => Ok(()),
            None => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> GroupError {
        let (group, member) = (self.group.clone(), self.member.to_string());
        Refusal::UnknownMember { group, member }.into()
    }

    /// What the member has by now, as soon as that differs from what it was told last.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The member is gone, or the group is coordinated elsewhere.
    pub async fn news(&mut self) -> Result<Assignment, GroupError> {
        loop {
            self.changes.borrow_and_update();
            self.standing.borrow_and_update();
            self.check_leads()?;
            let now = self.shard.groups().read(|groups| {
                groups.group(&self.group).and_then(|group| group.assignment(&self.member))
            });
            let assignment = now.ok_or_else(|| self.unknown())?;
            if self.told.as_ref() != Some(&assignment) {
                self.told = Some(assignment.clone());
                return Ok(assignment);
            }
            tokio::select! {
                _ = self.changes.changed() => {}
                _ = self.standing.changed() => {}
            }
        }
    }

    /// The epoch that was told last.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.told.as_ref().map_or(0, |told| told.epoch.get())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.broker.inner.coordinator.sessions.close(&self.group, &self.member, self.stream);
    }
}
