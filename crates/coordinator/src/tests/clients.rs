//! Honest members: what they were told, what they hold, and what they said at any time.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{PartitionId, TopicId};

use super::random::Random;
use crate::{Command, Confirmation, GroupEpoch, GroupName, Groups, MemberId};

#[derive(Default)]
struct Client {
    held: BTreeSet<PartitionId>,
}

#[derive(Default)]
pub(crate) struct Clients {
    clients: BTreeMap<(GroupName, MemberId), Client>,
    /// Everything that was ever said: the network delays, repeats and reorders.
    said: Vec<(GroupName, Confirmation)>,
}

impl Clients {
    /// A member hears its assignment, starts what is new, lets go some of what it is to let go, and
    /// says so.
    pub(crate) fn hear(&mut self, random: &mut Random, groups: &Groups) {
        let keys: Vec<_> = self.clients.keys().cloned().collect();
        let Some(key) = random.pick(&keys) else { return };
        let (group, member) = &key;
        let Some(assignment) = groups.group(group).and_then(|found| found.assignment(member))
        else {
            return;
        };
        let client = self.clients.get_mut(&key).unwrap();
        let keeps = |id: &&PartitionId| client.held.contains(*id) && random.one_in(2);
        let kept: Vec<PartitionId> = assignment.revoking.iter().filter(keeps).copied().collect();
        client.held = assignment.assigned.into_iter().chain(kept).collect();
        let confirmation = confirmation(member.clone(), assignment.epoch, &client.held);
        self.said.push((group.clone(), confirmation));
    }

    /// Something that was said arrives, maybe late, maybe again.
    pub(crate) fn arrival(&self, random: &mut Random) -> Option<Command> {
        let recent = self.said.len().saturating_sub(3);
        let from = if random.one_in(2) { &self.said[recent..] } else { &self.said[..] };
        let (group, confirmation) = random.pick(from)?;
        Some(Command::Confirm { group, confirmations: vec![confirmation] })
    }

    /// Follows a command that was accepted. Whoever left for a while stopped reading before.
    pub(crate) fn follow(&mut self, command: &Command, groups: &Groups) {
        if let Command::Update { group, joins, .. } = command {
            for join in joins {
                self.clients.insert((group.clone(), join.member.clone()), Client::default());
            }
        }
        self.clients.retain(|(group, member), client| {
            let Some(group) = groups.group(group) else { return false };
            // Topics that nobody reads, or that are gone, take their partitions along.
            client.held.retain(|id| group.owner(*id).is_some());
            group.member(member).is_some_and(|member| !member.is_away())
        });
    }

    /// Whoever holds a partition is its owner: so no two hold it.
    pub(crate) fn check(&self, groups: &Groups) -> Result<(), String> {
        for ((group, member), client) in &self.clients {
            let group = groups.group(group).unwrap();
            for id in &client.held {
                let owner = group.owner(*id);
                if owner.is_none_or(|owner| owner.member != *member) {
                    return Err(format!("{member} holds {id}, but the owner is {owner:?}"));
                }
            }
        }
        Ok(())
    }
}

/// A confirmation of what is held.
pub(crate) fn confirmation<'a>(
    member: MemberId,
    epoch: GroupEpoch,
    held: impl IntoIterator<Item = &'a PartitionId>,
) -> Confirmation {
    let mut owned: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for id in held {
        owned.entry(id.topic).or_default().push(id.index.get());
    }
    Confirmation { member, epoch, owned }
}
