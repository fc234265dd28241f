//! Who votes on the metadata: three nodes, or five of five and more, none of them one that leaves.

use std::collections::BTreeSet;

use quipu_consensus::{ChangeMembersError, Group, Member, MembersChange};
use quipu_types::{NodeId, ReplicaId};

use super::Controller;
use super::liveness::Liveness;
use crate::image::{Image, NodeState};

/// Entries a learner may lack when it is given a vote.
const LAG_MAX: u64 = 64;

/// One change of the metadata group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Exactly these vote from now on.
    Vote(BTreeSet<ReplicaId>),
    /// Another is to lead first.
    HandOver(Vec<ReplicaId>),
    /// Nodes that were removed follow no more.
    Forget(Vec<ReplicaId>),
}

/// Makes one change, if one is due.
pub(super) async fn step(controller: &Controller, image: &Image, liveness: &Liveness) {
    let group = &controller.group;
    let Some(leadership) = group.leadership() else { return };
    let ready = ready(group, liveness);
    let step = match group.change_of_members() {
        MembersChange::UnderWay => None,
        MembersChange::HalfWay(target) => Some(Step::Vote(target)),
        MembersChange::None => {
            let is_ready = |replica| ready.contains(&replica);
            next(image, &group.members(), group.replica(), is_ready)
        }
    };
    let Some(step) = step else { return };
    tracing::info!(?step, "the members of the metadata group change");
    let done = match step {
        Step::Vote(voters) => {
            group.change_voters(leadership, voters.into_iter().collect(), true).await
        }
        Step::Forget(replicas) => group.remove_learners(leadership, replicas).await,
        Step::HandOver(successors) => return hand_over(group, successors).await,
    };
    match done {
        Ok(()) | Err(ChangeMembersError::NotLeader { .. } | ChangeMembersError::Stopped) => {}
        Err(error @ (ChangeMembersError::Refused(_) | ChangeMembersError::LeadershipLost)) => {
            tracing::warn!(%error, "the members of the metadata group stay as they are for now");
        }
    }
}

async fn hand_over(group: &Group, successors: Vec<ReplicaId>) {
    for successor in successors {
        match group.transfer_leadership(successor).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%successor, %error, "no successor yet"),
        }
    }
}

/// Members that answer and have what is committed, or nearly.
fn ready(group: &Group, liveness: &Liveness) -> BTreeSet<ReplicaId> {
    let last = group.positions().last.map_or(0, |last| last.index.get());
    let replication = group.replication().into_iter();
    let is_near = |(_, node, matched): &(ReplicaId, NodeId, Option<quipu_types::LogIndex>)| {
        let matched = matched.map_or(0, |at| at.get());
        liveness.is_alive(*node) && matched + LAG_MAX >= last
    };
    replication.filter(is_near).map(|(replica, _, _)| replica).collect()
}

fn next(
    image: &Image,
    members: &[Member],
    own: ReplicaId,
    is_ready: impl Fn(ReplicaId) -> bool,
) -> Option<Step> {
    let is_removed = |node: NodeId| image.removed.contains_key(&node);
    // Its node has another by now: it forgot what it promised, and is gone for good.
    let is_lost = |member: &Member| {
        image.metadata_replica(member.node).is_some_and(|known| known != member.replica)
    };
    let is_leaving = |member: &Member| {
        let state = image.nodes.get(&member.node).map(|record| record.state);
        is_lost(member) || is_removed(member.node) || state == Some(NodeState::Decommissioning)
    };
    let voters: BTreeSet<ReplicaId> =
        members.iter().filter(|member| member.is_voter).map(|member| member.replica).collect();
    let wanted = match image.hosts().count() {
        hosts @ 0..=2 => hosts,
        3 | 4 => 3,
        _ => 5,
    };
    let leaving: Vec<&Member> =
        members.iter().filter(|member| member.is_voter && is_leaving(member)).collect();
    let staying = voters.len() - leaving.len();
    let may_join = |member: &&Member| {
        !member.is_voter
            && !is_lost(member)
            && image.nodes.get(&member.node).is_some_and(|it| it.state == NodeState::Active)
            && is_ready(member.replica)
    };
    if staying < wanted
        && let Some(joins) = members.iter().find(may_join)
    {
        // In one step with those that are lost, who could grant nothing: fewer must be there.
        let lost = leaving.iter().filter(|member| is_lost(member)).map(|member| member.replica);
        let lost: BTreeSet<ReplicaId> = lost.collect();
        let mut voters: BTreeSet<ReplicaId> = voters.difference(&lost).copied().collect();
        voters.insert(joins.replica);
        return Some(Step::Vote(voters));
    }
    // One that leaves goes once enough are left without it: the leader last, and not as leader.
    let mut leaves = leaving.iter().filter(|member| member.replica != own);
    if staying >= wanted.max(1)
        && let Some(leaves) = leaves.next().or_else(|| leaving.first())
    {
        if leaves.replica == own {
            let others = members.iter().filter(|member| member.is_voter && member.replica != own);
            return Some(Step::HandOver(others.map(|member| member.replica).collect()));
        }
        let mut voters = voters;
        voters.remove(&leaves.replica);
        return Some(Step::Vote(voters));
    }
    let is_gone = |member: &&Member| is_removed(member.node) || is_lost(member);
    let gone = members.iter().filter(|member| !member.is_voter).filter(is_gone);
    let gone: Vec<ReplicaId> = gone.map(|member| member.replica).collect();
    (!gone.is_empty()).then_some(Step::Forget(gone))
}

#[cfg(test)]
mod tests {
    use quipu_types::{DirectoryId, Incarnation};

    use super::*;
    use crate::image::Rebuilt;
    use crate::image::tests::node_record;

    fn image(nodes: u64, leaving: &[u64]) -> Image {
        let mut image = Image::default();
        for node in 1..=nodes {
            let is_leaving = leaving.contains(&node);
            let state = if is_leaving { NodeState::Decommissioning } else { NodeState::Active };
            image.nodes.insert(NodeId::new(node), node_record(state));
        }
        image
    }

    fn members(voters: &[u64], learners: &[u64]) -> Vec<Member> {
        let member = |node: &u64, is_voter| Member {
            replica: ReplicaId::new(*node),
            node: NodeId::new(*node),
            is_voter,
        };
        let voters = voters.iter().map(|node| member(node, true));
        voters.chain(learners.iter().map(|node| member(node, false))).collect()
    }

    fn vote(voters: &[u64]) -> Option<Step> {
        Some(Step::Vote(voters.iter().copied().map(ReplicaId::new).collect()))
    }

    const ONE: ReplicaId = ReplicaId::new(1);

    #[test]
    fn learners_get_a_vote_where_there_are_too_few_and_they_are_ready() {
        let three = members(&[1, 2, 3], &[4]);
        assert_eq!(next(&image(4, &[]), &three, ONE, |_| true), None, "three of four vote");
        let five = members(&[1, 2, 3], &[4, 5]);
        assert_eq!(next(&image(5, &[]), &five, ONE, |_| true), vote(&[1, 2, 3, 4]));
        let is_ready = |replica| replica == ReplicaId::new(5);
        assert_eq!(next(&image(5, &[]), &five, ONE, is_ready), vote(&[1, 2, 3, 5]));
        assert_eq!(next(&image(5, &[]), &five, ONE, |_| false), None);
        // Founders that have not registered yet keep their votes.
        assert_eq!(next(&image(0, &[]), &members(&[1, 2, 3], &[]), ONE, |_| true), None);
    }

    #[test]
    fn a_replica_whose_node_began_anew_gives_its_vote_to_another_in_one_step() {
        let mut three = image(3, &[]);
        let replica = ReplicaId::new(1 << 33);
        let rebuilt = Rebuilt { replica, incarnation: Incarnation::new(4) };
        three.nodes.get_mut(&NodeId::new(3)).unwrap().rebuilt = Some(rebuilt);
        let mut members = members(&[1, 2, 3], &[]);
        assert_eq!(next(&three, &members, ONE, |_| true), None, "nobody takes its place yet");
        members.push(Member { replica, node: NodeId::new(3), is_voter: false });
        assert_eq!(next(&three, &members, ONE, |_| false), None, "it catches up");
        assert_eq!(next(&three, &members, ONE, |_| true), vote(&[1, 2, 1 << 33]));
        for member in &mut members {
            member.is_voter = member.replica != ReplicaId::new(3);
        }
        let gone = Some(Step::Forget(vec![ReplicaId::new(3)]));
        assert_eq!(next(&three, &members, ONE, |_| true), gone);
        members.retain(|member| member.is_voter);
        assert_eq!(next(&three, &members, ONE, |_| true), None);
    }

    #[test]
    fn who_leaves_is_replaced_first_and_the_leader_goes_last() {
        let four = image(4, &[1, 2]);
        let before = members(&[1, 2, 3], &[4]);
        assert_eq!(next(&four, &before, ONE, |_| false), None, "nobody takes its place yet");
        let leaving_one = image(4, &[1]);
        assert_eq!(next(&leaving_one, &before, ONE, |_| true), vote(&[1, 2, 3, 4]));
        let both = members(&[1, 2, 3, 4], &[]);
        let handed = Step::HandOver([2, 3, 4].map(ReplicaId::new).to_vec());
        assert_eq!(next(&leaving_one, &both, ONE, |_| true), Some(handed));
        let two = ReplicaId::new(2);
        assert_eq!(next(&leaving_one, &both, two, |_| true), vote(&[2, 3, 4]));
        let mut gone = image(4, &[]);
        gone.nodes.remove(&NodeId::new(1));
        gone.removed.insert(NodeId::new(1), DirectoryId::default());
        let after = members(&[2, 3, 4], &[1]);
        assert_eq!(next(&gone, &after, two, |_| true), Some(Step::Forget(vec![ONE])));
        assert_eq!(next(&gone, &members(&[2, 3, 4], &[]), two, |_| true), None);
    }
}
