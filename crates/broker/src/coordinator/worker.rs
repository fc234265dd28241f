//! Changes of groups on their way into commands: what waits together goes together.
//!
//! A thousand members that join at once make a few epochs, not a thousand: while one command is
//! under way, the next one fills.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use quipu_coordinator::{
    Answer, Command, Confirmation, GroupName, Join, Leave, LeaveReason, MemberId, Outcome,
    Subscribed,
};
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{TopicId, limits};
use tokio::sync::{mpsc, oneshot};

use super::{GroupError, subscription};
use crate::Broker;

/// Changes that may wait; members beyond wait at their streams.
pub(super) const CHANGES_MAX: usize = 4_096;
/// How long a command may take.
const COMMAND_WAIT: Duration = Duration::from_secs(10);

/// What is to change in a group.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A member joins.
    Join(Join),
    /// A member goes.
    Leave(Leave),
    /// A member wants something else, or there are new topics for it.
    Subscribe(Subscribed),
    /// Topics have other numbers of partitions.
    Recount,
    /// A member let partitions go.
    Confirm(Confirmation),
}

/// A change and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    group: GroupName,
    change: Change,
    answer: oneshot::Sender<Result<(), GroupError>>,
}

/// Where changes are handed in.
pub(super) type Inbox = mpsc::Sender<Waiting>;

impl Broker {
    /// Changes a group; resolves once the change is applied.
    pub(super) async fn change_group(
        &self,
        shard: &Shard,
        group: &GroupName,
        change: Change,
    ) -> Result<(), GroupError> {
        let inbox = self.inner.coordinator.inbox(shard.id());
        let inbox = inbox.ok_or(GroupError::NotCoordinator { leader: None })?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { group: group.clone(), change, answer };
        let gone = |_| GroupError::Route(crate::RouteError::Stopping);
        inbox.send(waiting).await.map_err(gone)?;
        answered.await.map_err(|_| GroupError::Route(crate::RouteError::Stopping))?
    }

    /// Sends one command to the groups' state machine.
    pub(super) async fn propose_group(
        &self,
        shard: &Shard,
        command: &Command,
        deadline: Deadline,
    ) -> Result<Outcome, GroupError> {
        let (bytes, limit) = (command.encode(), limits::GROUP_COMMAND_BYTES_MAX);
        if bytes.len() > limit {
            return Err(GroupError::TooLarge { actual: bytes.len(), limit });
        }
        let answer = shard.change_groups(bytes, deadline).await?;
        let answer = Answer::decode(&answer)
            .map_err(|_| GroupError::Control(quipu_shard::ControlError::Reply))?;
        answer.0.map_err(GroupError::Refused)
    }
}

/// Turns changes into commands until nobody can hand any in: one task per shard.
pub(super) async fn run(broker: Broker, shard: Shard, mut changes: mpsc::Receiver<Waiting>) {
    loop {
        let mut taken = Vec::new();
        if changes.recv_many(&mut taken, CHANGES_MAX).await == 0 {
            return;
        }
        let mut groups: BTreeMap<GroupName, Vec<Waiting>> = BTreeMap::new();
        for waiting in taken {
            groups.entry(waiting.group.clone()).or_default().push(waiting);
        }
        join_all(groups.into_iter().map(|(group, waiting)| apply(&broker, &shard, group, waiting)))
            .await;
    }
}

async fn apply(broker: &Broker, shard: &Shard, group: GroupName, waiting: Vec<Waiting>) {
    let (confirming, updating): (Vec<_>, Vec<_>) =
        waiting.into_iter().partition(|one| matches!(one.change, Change::Confirm(_)));
    for part in [confirming, updating] {
        settle(broker, shard, &group, part).await;
    }
}

/// Proposes changes as one command, and tells everybody what became of theirs.
async fn settle(broker: &Broker, shard: &Shard, group: &GroupName, part: Vec<Waiting>) {
    let (changes, answers): (Vec<Change>, Vec<_>) =
        part.into_iter().map(|one| (one.change, one.answer)).unzip();
    let results = halving(&changes, &|part| propose(broker, shard, group, part).boxed()).await;
    for (answer, result) in answers.into_iter().zip(results) {
        // Who stopped waiting needs no answer.
        drop(answer.send(result));
    }
}

/// What became of each change. When somebody's is refused, the others shall not suffer for it: the
/// part is halved until the one is found. So is one that is too large as a whole.
async fn halving<'a, T: Sync>(
    part: &'a [T],
    propose: &(dyn Fn(&'a [T]) -> BoxFuture<'a, Result<(), GroupError>> + Sync),
) -> Vec<Result<(), GroupError>> {
    if part.is_empty() {
        return Vec::new();
    }
    let result = propose(part).await;
    let is_divisible = matches!(result, Err(GroupError::Refused(_) | GroupError::TooLarge { .. }));
    if !is_divisible || part.len() == 1 {
        return vec![result; part.len()];
    }
    let (half, rest) = part.split_at(part.len() / 2);
    let mut results = Box::pin(halving(half, propose)).await;
    results.extend(Box::pin(halving(rest, propose)).await);
    results
}

async fn propose(
    broker: &Broker,
    shard: &Shard,
    group: &GroupName,
    changes: &[Change],
) -> Result<(), GroupError> {
    let command = command(broker, shard, group, changes);
    let deadline = Deadline::after(broker.clock(), COMMAND_WAIT);
    broker.propose_group(shard, &command, deadline).await.map(drop)
}

fn command(broker: &Broker, shard: &Shard, group: &GroupName, changes: &[Change]) -> Command {
    let group = group.clone();
    // Its expiry was handed in, and then it was heard again: it stays.
    let (sessions, now) = (&broker.inner.coordinator.sessions, broker.clock().monotonic());
    let is_back = |leave: &Leave| {
        leave.reason == LeaveReason::SessionExpired && sessions.is_live(&group, &leave.member, now)
    };
    let (mut joins, mut leaves, mut subscriptions, mut confirmations) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        match change.clone() {
            Change::Join(join) => joins.push(join),
            Change::Leave(leave) if is_back(&leave) => {}
            Change::Leave(leave) => leaves.push(leave),
            Change::Subscribe(subscribed) => subscriptions.push(subscribed),
            Change::Confirm(confirmation) => confirmations.push(confirmation),
            Change::Recount => {}
        }
    }
    if !confirmations.is_empty() {
        return Command::Confirm { group, confirmations };
    }
    // Looked up here and not where they were handed in: one command speaks of one image.
    let image = broker.image();
    for join in &mut joins {
        join.resolved = subscription::resolve(&join.topics, &join.patterns, &image);
    }
    for one in &mut subscriptions {
        one.resolved = subscription::resolve(&one.topics, &one.patterns, &image);
    }
    // What every member reads once the command is applied.
    let mut resolved: BTreeMap<MemberId, Vec<TopicId>> = shard.groups().read(|groups| {
        let members = groups.group(&group).into_iter().flat_map(|group| group.members());
        members.map(|member| (member.id().clone(), member.resolved().to_vec())).collect()
    });
    for leave in leaves.iter().filter(|leave| !leave.temporary) {
        resolved.remove(&leave.member);
    }
    let joined = joins.iter().map(|join| (join.member.clone(), join.resolved.clone()));
    let changed = subscriptions.iter().map(|one| (one.member.clone(), one.resolved.clone()));
    resolved.extend(joined.chain(changed));
    let topics: BTreeSet<TopicId> = resolved.into_values().flatten().collect();
    let topics = subscription::counted(&topics, &image);
    Command::Update { group, joins, leaves, subscriptions, topics, image: image.version }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use quipu_coordinator::Refusal;

    use super::*;

    fn refusal() -> GroupError {
        let group = GroupName::new("readers").unwrap();
        GroupError::Refused(Refusal::UnknownGroup { group })
    }

    /// The results, and how many proposals they took.
    async fn settled(
        changes: &[u32],
        judge: impl Fn(&[u32]) -> Result<(), GroupError> + Sync,
    ) -> (Vec<Result<(), GroupError>>, usize) {
        let proposals = Mutex::new(0);
        let results = halving(changes, &|part| {
            *proposals.lock().unwrap() += 1;
            let result = judge(part);
            async { result }.boxed()
        })
        .await;
        (results, proposals.into_inner().unwrap())
    }

    #[tokio::test]
    async fn one_refused_change_harms_nobody_else() {
        let changes: Vec<u32> = (0..64).collect();
        for bad in [0, 17, 63] {
            let judge = |part: &[u32]| if part.contains(&bad) { Err(refusal()) } else { Ok(()) };
            let (results, proposals) = settled(&changes, judge).await;
            for (change, result) in changes.iter().zip(results) {
                assert_eq!(result.is_err(), *change == bad, "change {change}");
            }
            assert_eq!(proposals, 13, "two of each size below 64");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_divided_and_what_fails_otherwise_is_not() {
        let large = |part: &[u32]| match part.len() {
            actual @ 17.. => Err(GroupError::TooLarge { actual, limit: 16 }),
            _ => Ok(()),
        };
        let (results, proposals) = settled(&[1; 64], large).await;
        assert_eq!((results.iter().filter(|it| it.is_ok()).count(), proposals), (64, 7));

        let nobody = |_: &[u32]| Err(GroupError::NotCoordinator { leader: None });
        let (results, proposals) = settled(&[1; 64], nobody).await;
        assert_eq!((results.iter().filter(|it| it.is_err()).count(), proposals), (64, 1));
        assert_eq!(settled(&[], nobody).await, (Vec::new(), 0));
    }
}
