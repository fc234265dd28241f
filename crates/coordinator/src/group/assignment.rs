//! What each member has, worked out for all of them at once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use quipu_types::PartitionId;

use super::Group;
use crate::{GroupEpoch, MemberId};

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The group's epoch.
    pub epoch: GroupEpoch,
    /// To read, in order.
    pub assigned: Vec<PartitionId>,
    /// To let go, in order.
    pub revoking: Vec<PartitionId>,
    /// Its own soon, but still another's.
    pub waiting: usize,
}

/// Everybody's assignment, made when somebody asks for the first time after a change: after each
/// change every member asks, and one walk over all partitions for each of them would be too much.
///
/// It says nothing that the group does not say, so copies begin without it and it makes no groups
/// differ.
#[derive(Debug, Default)]
pub(super) struct Shares(OnceLock<BTreeMap<MemberId, Assignment>>);

impl Shares {
    pub(super) fn of(&self, group: &Group, member: &MemberId) -> Option<&Assignment> {
        self.0.get_or_init(|| share(group)).get(member)
    }

    /// Owners or their epoch have changed.
    pub(super) fn forget(&mut self) {
        self.0.take();
    }
}

impl Clone for Shares {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Shares {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shares {}

fn share(group: &Group) -> BTreeMap<MemberId, Assignment> {
    let nothing = Assignment { epoch: group.epoch, ..Assignment::default() };
    let mut shares: BTreeMap<MemberId, Assignment> =
        group.members.keys().map(|id| (id.clone(), nothing.clone())).collect();
    for (partition, owner) in &group.owners {
        let meant = group.target.get(partition).filter(|meant| **meant != owner.member);
        if let Some(share) = shares.get_mut(&owner.member) {
            let list = if meant.is_none() { &mut share.assigned } else { &mut share.revoking };
            list.push(*partition);
        }
        if let Some(share) = meant.and_then(|meant| shares.get_mut(meant)) {
            share.waiting += 1;
        }
    }
    shares
}
