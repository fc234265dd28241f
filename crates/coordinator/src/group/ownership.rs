//! Who reads what, and how it goes from one member to another.

use quipu_types::{PartitionId, TimestampMs};
use serde::{Deserialize, Serialize};

use super::Group;
use crate::assignor;
use crate::command::Confirmation;
use crate::member::Member;
use crate::{GroupEpoch, MemberId};

/// Who reads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The member.
    pub member: MemberId,
    /// The group's epoch when it was given the partition.
    pub since: GroupEpoch,
    /// The epoch that meant the partition for another: the owner keeps it until it confirms this
    /// one or a later one. What it said before may be older than the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<GroupEpoch>,
}

/// How many changes are told in words.
const WORDS_SHOWN: usize = 3;

impl Group {
    /// A new epoch: a new target, and what is free goes to whom it is meant for.
    pub(super) fn change(&mut self, now: TimestampMs, words: Vec<String>) {
        if !quipu_failpoint::is_planted("plant.group.epoch-kept") {
            self.epoch = self.epoch.next();
        }
        self.rebalances += 1;
        self.target = assignor::assign(self.assignor(), &self.members, &self.topics, &self.target);
        self.revoke();
        self.grant();
        let more = words.len().saturating_sub(WORDS_SHOWN);
        self.last_change = words.into_iter().take(WORDS_SHOWN).collect::<Vec<_>>().join(", ");
        if more > 0 {
            self.last_change.push_str(&format!(", and {more} more"));
        }
        self.changed_at = now;
    }

    /// What is meant for another is to be let go.
    fn revoke(&mut self) {
        let is_away = |id: &MemberId| self.members.get(id).is_some_and(Member::is_away);
        self.owners.retain(|partition, owner| match self.target.get(partition) {
            // Whoever is away has stopped reading, and is not there to say so.
            Some(meant) => {
                let waits = !quipu_failpoint::is_planted("plant.group.granted-early");
                *meant == owner.member || waits && !is_away(&owner.member)
            }
            // It is gone, or nobody is to read it.
            None => false,
        });
        for (partition, owner) in &mut self.owners {
            let keeps = self.target.get(partition) == Some(&owner.member);
            owner.revoked = if keeps { None } else { owner.revoked.or(Some(self.epoch)) };
        }
    }

    /// Ends every change of owners.
    fn grant(&mut self) {
        for (partition, member) in &self.target {
            if !self.owners.contains_key(partition) {
                let owner = Owner { member: member.clone(), since: self.epoch, revoked: None };
                self.owners.insert(*partition, owner);
            }
        }
        self.shares.forget();
    }

    /// Gives on what members let go.
    pub(crate) fn confirm(&mut self, confirmations: &[Confirmation]) {
        for Confirmation { member, epoch, owned } in confirmations {
            let is_held = |partition: &PartitionId| {
                let indexes = owned.get(&partition.topic);
                indexes.is_some_and(|indexes| indexes.contains(&partition.index.get()))
            };
            self.owners.retain(|partition, owner| {
                let has_let_go = owner.revoked.is_some_and(|since| since <= *epoch);
                owner.member != *member || !has_let_go || is_held(partition)
            });
        }
        self.grant();
    }
}
