//! Who belongs to a group, read a second time, and which change may follow which.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf;
use quipu_types::{NodeId, ReplicaId};

/// The members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    /// Two sets while members change, each with its own majority.
    voters: Vec<BTreeSet<ReplicaId>>,
    places: BTreeMap<ReplicaId, NodeId>,
}

impl Members {
    /// As the log has them: `consensus::membership`.
    pub(crate) fn decode(mut from: &[u8]) -> Result<Self, String> {
        let whole = from;
        read(&mut from).ok_or_else(|| format!("no members: {whole:02x?}"))
    }

    /// Whether a replica votes, in any set.
    pub(crate) fn votes(&self, replica: ReplicaId) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }

    /// Every member with its node.
    pub(crate) fn places(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> {
        self.places.iter().map(|(replica, node)| (*replica, *node))
    }

    pub(crate) fn has(&self, replica: ReplicaId) -> bool {
        self.places.contains_key(&replica)
    }

    /// Whether exactly these vote, and nobody else follows.
    pub(crate) fn are(&self, replicas: &[(ReplicaId, NodeId)]) -> bool {
        let wanted: BTreeMap<ReplicaId, NodeId> = replicas.iter().copied().collect();
        let voters: BTreeSet<ReplicaId> = wanted.keys().copied().collect();
        self.voters == [voters] && self.places == wanted
    }

    /// Who votes now and did not before.
    pub(crate) fn new_voters(&self, before: &Self) -> Vec<ReplicaId> {
        let all: BTreeSet<ReplicaId> = self.voters.iter().flatten().copied().collect();
        all.into_iter().filter(|voter| !before.votes(*voter)).collect()
    }

    /// Who is a member no more.
    pub(crate) fn lost(&self, before: &Self) -> Vec<ReplicaId> {
        before.places.keys().filter(|replica| !self.has(**replica)).copied().collect()
    }

    /// Checks what must hold of any members.
    pub(crate) fn check(&self) -> Result<(), String> {
        let nodes: BTreeSet<NodeId> = self.places.values().copied().collect();
        if nodes.len() < self.places.len() {
            return Err(format!("two replicas on one node: {self:?}"));
        }
        let mut voters = self.voters.iter().flatten();
        match voters.find(|voter| !self.has(**voter)) {
            Some(voter) => Err(format!("voter {voter} has no place: {self:?}")),
            None if self.voters.is_empty() || self.voters.iter().any(BTreeSet::is_empty) => {
                Err(format!("nobody votes: {self:?}"))
            }
            None => Ok(()),
        }
    }

    /// Checks that this is one step away: a learner comes or goes, one more votes, or some lose
    /// their votes; and what was begun is ended first.
    pub(crate) fn check_follows(&self, before: &Self) -> Result<(), String> {
        let is_step = match (before.voters.as_slice(), self.voters.as_slice()) {
            ([old], [new]) => old == new,
            ([old], [left, new]) => old == left && is_one_more_or_fewer(old, new),
            ([_, begun], [new]) => begun == new,
            _ => false,
        };
        if is_step {
            return Ok(());
        }
        Err(format!("the members change at once from {before:?} to {self:?}"))
    }
}

fn is_one_more_or_fewer(old: &BTreeSet<ReplicaId>, new: &BTreeSet<ReplicaId>) -> bool {
    let is_one_more = new.is_superset(old) && new.len() == old.len() + 1;
    is_one_more || new.is_subset(old) && new.len() < old.len()
}

fn read(from: &mut &[u8]) -> Option<Members> {
    let _version = from.try_get_u8().ok()?;
    let mut voters = Vec::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let mut set = BTreeSet::new();
        for _ in 0..from.try_get_u32_le().ok()? {
            set.insert(ReplicaId::new(from.try_get_u64_le().ok()?));
        }
        voters.push(set);
    }
    let mut places = BTreeMap::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let replica = ReplicaId::new(from.try_get_u64_le().ok()?);
        places.insert(replica, NodeId::new(from.try_get_u64_le().ok()?));
    }
    Some(Members { voters, places })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Each replica on the node of its number.
    pub(in crate::l1) fn members(voters: &[&[u64]], learners: &[u64]) -> Members {
        let sets = voters.iter().map(|set| set.iter().copied().map(ReplicaId::new).collect());
        let all = voters.iter().copied().flatten().chain(learners);
        let places = all.map(|id| (ReplicaId::new(*id), NodeId::new(*id)));
        Members { voters: sets.collect(), places: places.collect() }
    }

    #[test]
    fn one_step_may_follow_another_and_two_at_once_may_not() {
        let three = members(&[&[1, 2, 3]], &[]);
        let may = |before: &Members, after: &Members| after.check_follows(before).is_ok();
        assert!(may(&three, &members(&[&[1, 2, 3]], &[4])));
        assert!(may(&three, &members(&[&[1, 2, 3], &[1, 2, 3, 4]], &[])));
        assert!(may(&members(&[&[1, 2, 3], &[1, 2]], &[]), &members(&[&[1, 2]], &[3])));
        assert!(!may(&three, &members(&[&[1, 2, 3, 4]], &[])), "the old ones are not asked");
        assert!(!may(&three, &members(&[&[1, 2, 3], &[1, 2, 4]], &[])), "one comes, one goes");
        assert!(!may(&three, &members(&[&[1, 2, 3], &[1, 2, 3, 4, 5]], &[])), "two come");
        let begun = members(&[&[1, 2, 3], &[1, 2]], &[]);
        assert!(!may(&begun, &three), "what was begun is not ended");
    }

    #[test]
    fn a_node_holds_one_replica_and_voters_have_a_place() {
        let mut twice = members(&[&[1, 2, 3]], &[4]);
        assert_eq!(twice.check(), Ok(()));
        twice.places.insert(ReplicaId::new(4), NodeId::new(1));
        assert!(twice.check().is_err());
        twice.places.retain(|replica, _| replica.get() < 3);
        assert!(twice.check().is_err());
        assert!(members(&[], &[1]).check().is_err());
    }

    #[test]
    fn who_came_and_who_went_is_told() {
        let (before, after) = (members(&[&[1, 2]], &[3]), members(&[&[1, 2], &[1, 2, 4]], &[]));
        assert_eq!(after.new_voters(&before), [ReplicaId::new(4)]);
        assert_eq!(after.lost(&before), [ReplicaId::new(3)]);
        assert!(members(&[&[1]], &[]).are(&[(ReplicaId::new(1), NodeId::new(1))]));
        assert!(!before.are(&[(ReplicaId::new(1), NodeId::new(1))]));
    }
}
