//! What an update may be.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::limits;

use super::{Group, Update};
use crate::command::Leave;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::{GroupName, MemberId};

impl Group {
    pub(super) fn check_update(&self, name: &GroupName, update: &Update) -> Result<(), Refusal> {
        let limit = limits::GROUP_MEMBERS_MAX;
        if !update.joins.is_empty() && self.count_after(update) > limit {
            return Err(Refusal::GroupFull { group: name.clone(), limit });
        }
        update.leaves.iter().try_for_each(|leave| self.check_leave(leave))?;
        for subscribed in &update.subscriptions {
            if !self.members.contains_key(&subscribed.member) {
                let member = subscribed.member.to_string();
                return Err(Refusal::UnknownMember { group: name.clone(), member });
            }
        }
        self.check_instances(update)
    }

    /// Whoever joined again since is another member by the same name.
    fn check_leave(&self, leave: &Leave) -> Result<(), Refusal> {
        let current = self.members.get(&leave.member).map(Member::joined);
        match (leave.joined, current) {
            (Some(given), Some(current)) if given != current => {
                Err(Refusal::StaleLeave { member: leave.member.clone(), given, current })
            }
            _ => Ok(()),
        }
    }

    fn check_instances(&self, update: &Update) -> Result<(), Refusal> {
        let mut joining: BTreeMap<&String, &MemberId> = BTreeMap::new();
        for join in &update.joins {
            let Some(instance) = &join.instance else { continue };
            let held = self.holder(instance, &join.member).filter(|holder| {
                !holder.is_away
                    && join.replaces.as_ref() != Some(holder.id())
                    && !update.leaves.iter().any(|leave| leave.member == *holder.id())
            });
            let held = held.map(Member::id).or_else(|| joining.get(instance).copied());
            if let Some(holder) = held.filter(|holder| **holder != join.member) {
                return Err(Refusal::InstanceInUse {
                    instance: instance.clone(),
                    holder: holder.clone(),
                });
            }
            joining.insert(instance, &join.member);
        }
        Ok(())
    }

    /// How many members there are afterwards. Whoever takes a place makes none more.
    fn count_after(&self, update: &Update) -> usize {
        let mut ids: BTreeSet<&MemberId> = self.members.keys().collect();
        for leave in update.leaves.iter().filter(|leave| !self.is_kept(leave)) {
            ids.remove(&leave.member);
        }
        for join in &update.joins {
            let held = join.instance.as_ref().and_then(|held| self.holder(held, &join.member));
            held.map(|holder| ids.remove(holder.id()));
            ids.insert(&join.member);
        }
        ids.len()
    }

    /// Whether the place of a member that leaves is kept for it.
    pub(super) fn is_kept(&self, leave: &Leave) -> bool {
        let member = self.members.get(&leave.member);
        leave.temporary && member.is_some_and(|member| member.instance().is_some())
    }

    /// Who else holds an instance id.
    pub(super) fn holder(&self, instance: &str, except: &MemberId) -> Option<&Member> {
        let holds = |member: &&Member| {
            member.instance().is_some_and(|held| held == instance) && member.id() != except
        };
        self.members.values().find(holds)
    }
}
