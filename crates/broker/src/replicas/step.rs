//! What to do next with the members of a shard. Pure.

use std::collections::BTreeSet;

use quipu_consensus::{Member, MembersChange};
use quipu_metadata::ShardRecord;
use quipu_types::{LogIndex, NodeId, ReplicaId};

/// Entries a replica may lack when it is given a vote: as many as a transfer of leadership allows.
const LAG_MAX: u64 = 64;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A replica follows, without a vote.
    Follow { replica: ReplicaId, node: NodeId },
    /// Exactly these vote.
    Vote(BTreeSet<ReplicaId>),
    /// One of these leads from now on.
    HandOver(Vec<ReplicaId>),
    /// Replicas without a vote follow no more.
    Forget(Vec<ReplicaId>),
    /// The shard is where it is wanted: the metadata group is to know.
    Settle(BTreeSet<ReplicaId>),
}

/// What the leader sees of its group.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) own: ReplicaId,
    pub(super) change: MembersChange,
    pub(super) members: Vec<Member>,
    /// The index of the last entry.
    pub(super) last: u64,
    /// How far each member's disk agrees.
    pub(super) replication: Vec<(ReplicaId, NodeId, Option<LogIndex>)>,
}

impl Standing {
    /// Whether a change has to be ended, whatever is wanted by now.
    pub(super) const fn is_half_way(&self) -> bool {
        matches!(self.change, MembersChange::HalfWay(_))
    }

    fn voters(&self) -> BTreeSet<ReplicaId> {
        let voters = self.members.iter().filter(|member| member.is_voter);
        voters.map(|member| member.replica).collect()
    }

    fn is_member(&self, replica: ReplicaId) -> bool {
        self.members.iter().any(|member| member.replica == replica)
    }

    fn strangers(&self, wanted: &BTreeSet<ReplicaId>) -> Vec<ReplicaId> {
        let all = self.members.iter().map(|member| member.replica);
        all.filter(|replica| !wanted.contains(replica)).collect()
    }

    fn has_caught_up(&self, replica: ReplicaId) -> bool {
        let found = self.replication.iter().find(|(known, _, _)| *known == replica);
        let matched = found.and_then(|(_, _, matched)| *matched);
        matched.is_some_and(|at| at.get() + LAG_MAX >= self.last)
    }
}

/// Whether something may be to do: replicas move, or one follows that the record does not know. A
/// leader that was deposed before its step was committed may leave one behind.
pub(super) fn is_due(record: &ShardRecord, members: &[Member]) -> bool {
    let is_known = |member: &Member| record.replica_on(member.node) == Some(member.replica);
    record.is_moving() || !members.iter().all(|member| member.is_voter || is_known(member))
}

/// The step for a shard that does not move: who was left behind goes, and nothing else is touched.
pub(super) fn tidy_up(record: &ShardRecord, standing: &Standing) -> Option<Step> {
    let wanted: BTreeSet<ReplicaId> = record.replicas.iter().map(|(id, _)| *id).collect();
    let rest = standing.strangers(&wanted);
    let is_settled = standing.change == MembersChange::None && standing.voters() == wanted;
    (is_settled && !rest.is_empty()).then_some(Step::Forget(rest))
}

/// The next step towards what the record wants; none while a change is under way or a replica
/// catches up.
pub(super) fn next(
    record: &ShardRecord,
    standing: &Standing,
    is_alive: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    match &standing.change {
        MembersChange::None => {}
        MembersChange::UnderWay => return None,
        MembersChange::HalfWay(target) => return Some(Step::Vote(target.clone())),
    }
    let wanted: BTreeSet<ReplicaId> = record.replicas.iter().map(|(id, _)| *id).collect();
    let missing = record.replicas.iter().find(|(id, _)| !standing.is_member(*id));
    if let Some((replica, node)) = missing {
        // One that does not answer would only hold the log.
        return is_alive(*node).then_some(Step::Follow { replica: *replica, node: *node });
    }
    let voters = standing.voters();
    let mut without_vote = wanted.difference(&voters).copied();
    if let Some(joins) = without_vote.find(|replica| standing.has_caught_up(*replica)) {
        // In one step with those that are gone for good, who could grant nothing.
        let lost: BTreeSet<ReplicaId> = record.lost().map(|(replica, _)| replica).collect();
        let mut voters: BTreeSet<ReplicaId> = voters.difference(&lost).copied().collect();
        voters.insert(joins);
        return Some(Step::Vote(voters));
    }
    if !wanted.is_subset(&voters) {
        return None;
    }
    if !wanted.contains(&standing.own) {
        let nodes = record.replicas.iter().filter(|(_, node)| is_alive(*node));
        let ready = nodes.filter(|(id, _)| standing.has_caught_up(*id));
        return Some(Step::HandOver(ready.map(|(id, _)| *id).collect()));
    }
    let has_majority = {
        let live = record.replicas.iter().filter(|(_, node)| is_alive(*node));
        let ready = live.filter(|(id, _)| standing.has_caught_up(*id)).count();
        2 * ready > wanted.len()
    };
    if voters != wanted {
        // Those that stay must be able to go on alone.
        return has_majority.then_some(Step::Vote(wanted));
    }
    let rest = standing.strangers(&wanted);
    Some(if rest.is_empty() { Step::Settle(wanted) } else { Step::Forget(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(replica: u64) -> ReplicaId {
        ReplicaId::new(replica)
    }

    fn set(replicas: &[u64]) -> BTreeSet<ReplicaId> {
        replicas.iter().copied().map(id).collect()
    }

    /// Replica n lives on node n.
    fn placed(replicas: &[u64]) -> Vec<(ReplicaId, NodeId)> {
        replicas.iter().map(|replica| (id(*replica), NodeId::new(*replica))).collect()
    }

    fn record(replicas: &[u64], leaving: &[u64]) -> ShardRecord {
        let mut record = ShardRecord::new(placed(replicas), 3);
        record.leaving = placed(leaving);
        record
    }

    fn standing(own: u64, voters: &[u64], learners: &[u64], lags: &[u64]) -> Standing {
        let member = |replica: &u64, is_voter| Member {
            replica: id(*replica),
            node: NodeId::new(*replica),
            is_voter,
        };
        let members: Vec<Member> = voters
            .iter()
            .map(|replica| member(replica, true))
            .chain(learners.iter().map(|replica| member(replica, false)))
            .collect();
        let matched = |member: &Member| {
            let lags = lags.contains(&member.replica.get());
            (member.replica, member.node, (!lags).then_some(LogIndex::new(1_000)))
        };
        let replication = members.iter().map(matched).collect();
        Standing { own: id(own), change: MembersChange::None, members, last: 1_010, replication }
    }

    #[test]
    fn a_replica_follows_then_votes_and_the_old_one_goes_last() {
        let record = record(&[1, 2, 4], &[3]);
        let step = |standing: &Standing| next(&record, standing, |_| true);
        let follow = Step::Follow { replica: id(4), node: NodeId::new(4) };
        assert_eq!(step(&standing(1, &[1, 2, 3], &[], &[])), Some(follow));
        assert_eq!(step(&standing(1, &[1, 2, 3], &[4], &[4])), None, "it catches up");
        let voting = Some(Step::Vote(set(&[1, 2, 3, 4])));
        assert_eq!(step(&standing(1, &[1, 2, 3], &[4], &[])), voting);
        let alone = Some(Step::Vote(set(&[1, 2, 4])));
        assert_eq!(step(&standing(1, &[1, 2, 3, 4], &[], &[])), alone);
        assert_eq!(step(&standing(1, &[1, 2, 4], &[3], &[])), Some(Step::Forget(vec![id(3)])));
        let settled = Some(Step::Settle(set(&[1, 2, 4])));
        assert_eq!(step(&standing(1, &[1, 2, 4], &[], &[])), settled);
        let mut changing = standing(1, &[1, 2, 3], &[], &[]);
        changing.change = MembersChange::UnderWay;
        assert_eq!(step(&changing), None);
        changing.change = MembersChange::HalfWay(set(&[1, 2, 3, 4]));
        assert_eq!(step(&changing), voting, "what was begun is ended first");
    }

    #[test]
    fn a_replica_that_its_node_lost_is_replaced_in_one_step() {
        let mut record = record(&[1, 2, 13], &[]);
        record.replicas[2].1 = NodeId::new(3);
        record.leaving = placed(&[3]);
        let step = |standing: &Standing| next(&record, standing, |_| true);
        let follow = Step::Follow { replica: id(13), node: NodeId::new(3) };
        assert_eq!(step(&standing(1, &[1, 2, 3], &[], &[3])), Some(follow));
        assert_eq!(step(&standing(1, &[1, 2, 3], &[13], &[3, 13])), None, "it catches up");
        let swapped = Some(Step::Vote(set(&[1, 2, 13])));
        assert_eq!(step(&standing(1, &[1, 2, 3], &[13], &[3])), swapped, "two can grant it");
        assert_eq!(step(&standing(1, &[1, 2, 13], &[3], &[3])), Some(Step::Forget(vec![id(3)])));
        let settled = Some(Step::Settle(set(&[1, 2, 13])));
        assert_eq!(step(&standing(1, &[1, 2, 13], &[], &[])), settled);
    }

    #[test]
    fn a_leader_that_leaves_hands_over_before_it_loses_its_vote() {
        let record = record(&[1, 2, 4], &[3]);
        let all = standing(3, &[1, 2, 3, 4], &[], &[2]);
        let step = next(&record, &all, |node| node != NodeId::new(1));
        assert_eq!(step, Some(Step::HandOver(vec![id(4)])), "who answers and is not behind");
    }

    #[test]
    fn nobody_loses_a_vote_while_those_that_stay_could_not_go_on_alone() {
        let record = record(&[1, 2, 4], &[3]);
        let all = standing(1, &[1, 2, 3, 4], &[], &[]);
        assert_eq!(next(&record, &all, |node| node == NodeId::new(1)), None);
        let follow = standing(1, &[1, 2, 3], &[], &[]);
        assert_eq!(next(&record, &follow, |node| node != NodeId::new(4)), None);
    }

    #[test]
    fn a_move_that_was_called_off_is_taken_back() {
        let record = record(&[1, 2, 3], &[4]);
        let step = |standing: &Standing| next(&record, standing, |_| true);
        let half = standing(1, &[1, 2, 3], &[4], &[]);
        assert_eq!(step(&half), Some(Step::Forget(vec![id(4)])));
        let more = standing(4, &[1, 2, 3, 4], &[], &[]);
        assert_eq!(step(&more), Some(Step::HandOver(vec![id(1), id(2), id(3)])));
    }

    #[test]
    fn a_learner_that_a_deposed_leader_left_behind_goes_and_nothing_else_is_touched() {
        let settled = record(&[1, 2, 3], &[]);
        let mut left = standing(1, &[1, 2, 3], &[4], &[4]);
        assert!(is_due(&settled, &left.members));
        assert_eq!(tidy_up(&settled, &left), Some(Step::Forget(vec![id(4)])));
        left.change = MembersChange::UnderWay;
        assert_eq!(tidy_up(&settled, &left), None);
        let as_wanted = standing(1, &[1, 2, 3], &[], &[]);
        assert!(!is_due(&settled, &as_wanted.members));
        assert_eq!(tidy_up(&settled, &as_wanted), None);
        let other_voters = standing(1, &[1, 2, 5], &[4], &[]);
        assert_eq!(tidy_up(&settled, &other_voters), None);
        assert!(is_due(&record(&[1, 2, 4], &[3]), &as_wanted.members));
    }

    /// From any members towards any wish: every step is one that a majority of the old and the new
    /// survives, and it ends.
    #[test]
    fn every_way_ends_where_it_should() {
        for old in [&[1, 2, 3][..], &[1], &[1, 2, 3, 4, 5]] {
            for new in [&[1, 2, 3][..], &[4, 5, 6], &[1, 4, 5], &[2], &[2, 3, 4, 5, 6]] {
                let leaving: Vec<u64> =
                    old.iter().copied().filter(|one| !new.contains(one)).collect();
                let record = record(new, &leaving);
                let mut now = standing(old[0], old, &[], &[]);
                let mut steps = 0;
                while let Some(step) = next(&record, &now, |_| true) {
                    steps += 1;
                    assert!(steps < 40, "{old:?} to {new:?} does not end: {now:?}");
                    let voters: Vec<u64> = now.voters().iter().map(|id| id.get()).collect();
                    let others = now.members.iter().filter(|member| !member.is_voter);
                    let mut learners: Vec<u64> =
                        others.map(|member| member.replica.get()).collect();
                    let own = now.own.get();
                    now = match step {
                        Step::Follow { replica, .. } => {
                            learners.push(replica.get());
                            standing(own, &voters, &learners, &[])
                        }
                        Step::Vote(set) => {
                            assert!(set.contains(&now.own), "a leader keeps its vote");
                            let all = now.members.iter().map(|member| member.replica);
                            let rest: Vec<u64> =
                                all.filter(|id| !set.contains(id)).map(|id| id.get()).collect();
                            let set: Vec<u64> = set.iter().map(|id| id.get()).collect();
                            standing(own, &set, &rest, &[])
                        }
                        Step::HandOver(to) => standing(to[0].get(), &voters, &learners, &[]),
                        Step::Forget(gone) => {
                            learners.retain(|learner| !gone.contains(&id(*learner)));
                            standing(own, &voters, &learners, &[])
                        }
                        Step::Settle(found) => {
                            assert_eq!(found, set(new));
                            break;
                        }
                    };
                }
                assert_eq!(now.voters(), set(new), "{old:?} to {new:?}");
                assert_eq!(now.members.len(), new.len());
            }
        }
    }
}
