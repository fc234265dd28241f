//! Who is to read what: pure functions of members, topics and what was before.

mod range;
mod uniform;

use std::collections::BTreeMap;

use quipu_types::{PartitionId, TopicId};

use crate::MemberId;
use crate::command::Assignor;
use crate::member::Member;

/// Which member is to read each partition.
pub(crate) type Target = BTreeMap<PartitionId, MemberId>;

/// Computes the target. Every partition of a topic that somebody is subscribed to has one member,
/// and that one is subscribed.
pub(crate) fn assign(
    assignor: Assignor,
    members: &BTreeMap<MemberId, Member>,
    topics: &BTreeMap<TopicId, u32>,
    previous: &Target,
) -> Target {
    match assignor {
        Assignor::Uniform => uniform::assign(members, topics, previous),
        Assignor::Range => range::assign(members, topics),
    }
}

/// The assignor most members ask for; the first in order among equals.
pub(crate) fn chosen<'a>(members: impl Iterator<Item = &'a Member>) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for member in members {
        *votes.entry(member.assignor).or_default() += 1;
    }
    let best = votes.into_iter().rev().max_by_key(|(_, count)| *count);
    best.map_or_else(Assignor::default, |(assignor, _)| assignor)
}

#[cfg(test)]
mod tests;
