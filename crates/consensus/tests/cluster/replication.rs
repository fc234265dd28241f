//! Commands are committed in order, on all replicas; positions and reads.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quipu_consensus::{ChangeMembersError, Config, ProposeError, ReadIndexError, Role};
use quipu_runtime::{Clock, Deadline};
use quipu_types::{LogIndex, NodeId, ReplicaId};

use crate::cluster::{Cluster, PATIENCE, SHARD, commands, until, until_async};

/// Order is the order of the calls, although no future is polled before all are made.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_proposals_keep_the_order_of_their_calls() {
    let cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let leadership = leader.leadership().unwrap();
    let all = commands(0..1_000);
    let proposals: Vec<_> =
        all.iter().map(|command| leader.propose(leadership, command.clone(), None)).collect();
    let proposed: Vec<_> = join_all(proposals).await.into_iter().map(Result::unwrap).collect();
    assert!(proposed.is_sorted_by_key(|proposed| proposed.id.index));
    cluster.agree_on(&all).await;
}

/// A dropped future takes nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_proposal_is_committed_all_the_same() {
    let cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let leadership = leader.leadership().unwrap();
    drop(leader.propose(leadership, Bytes::from_static(b"dropped"), None));
    cluster.agree_on(&[Bytes::from_static(b"dropped")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_knows_its_leader_and_refuses_without_effect() {
    let cluster = Cluster::start(Config::default()).await;
    let number = cluster.leader().await;
    let leader = NodeId::new(u64::try_from(number).unwrap());
    let leadership = cluster.group(number).leadership().unwrap();
    let other = number % 3 + 1;
    let follower = cluster.group(other);
    until("the leader is known", || {
        follower.status().borrow().leader.filter(|(_, node)| *node == leader)
    })
    .await;
    assert_eq!(follower.leadership(), None);
    let refused = follower.propose(leadership, Bytes::from_static(b"x"), None).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
    let deadline = Deadline::after(&Clock::system(), PATIENCE);
    let unread = follower.ensure_linearizable(deadline).await;
    assert_eq!(unread, Err(ReadIndexError::NotLeader { leader: Some(leader) }));
    // Forwarded, the same command arrives.
    let consensus = &cluster.node(other).consensus;
    let reply = consensus.forward(leader, SHARD, Bytes::from_static(b"y"), deadline).await;
    assert!(reply.is_ok(), "{reply:?}");
    cluster.agree_on(&[Bytes::from_static(b"y")]).await;
    // And the other way: the leader's hints reach nodes that ask.
    let hint = consensus.leader_hint(SHARD);
    assert_eq!(hint.map(|hint| hint.node), Some(leader));
}

/// `acks=leader` rests on the hook, `min-insync` on the replication.
#[tokio::test(flavor = "multi_thread")]
async fn positions_follow_the_commits() {
    let cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let leadership = leader.leadership().unwrap();
    let (flushed, hook) = tokio::sync::oneshot::channel();
    let on_flushed = Box::new(move || flushed.send(()).expect("awaited"));
    let proposed = leader.propose(leadership, Bytes::from_static(b"x"), Some(on_flushed)).await;
    let index = proposed.unwrap().id.index;
    tokio::time::timeout(PATIENCE, hook).await.expect("in time").expect("fired");
    let deadline = Deadline::after(&Clock::system(), PATIENCE);
    leader.ensure_linearizable(deadline).await.unwrap();
    assert!(leader.positions().applied.unwrap().index >= index);
    until("all disks hold the entry", || {
        let flushed = leader.replication();
        let holds = |matched: &Option<LogIndex>| *matched >= Some(index);
        (flushed.len() == 3 && flushed.iter().all(|(_, _, matched)| holds(matched))).then_some(())
    })
    .await;
    assert_eq!(leader.members().iter().filter(|member| member.is_voter).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_command_is_refused_before_it_is_proposed() {
    let cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let command = Bytes::from(vec![0; quipu_consensus::COMMAND_BYTES_MAX + 1]);
    let refused = leader.propose(leader.leadership().unwrap(), command, None).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
    // The largest passes, through frames and journals alike.
    let command = Bytes::from(vec![7; quipu_consensus::COMMAND_BYTES_MAX]);
    let proposed = leader.propose(leader.leadership().unwrap(), command.clone(), None).await;
    assert!(proposed.is_ok(), "{proposed:?}");
    cluster.agree_on(&[command]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_reach_their_handler_and_carry_refusals_back() {
    let cluster = Cluster::start(Config::default()).await;
    let consensus = &cluster.node(2).consensus;
    consensus.on_call(
        7,
        std::sync::Arc::new(|from: NodeId, payload: Bytes| async move {
            if payload.is_empty() {
                return Err(format!("nothing from {from}"));
            }
            Ok(payload)
        }),
    );
    let caller = &cluster.node(1).consensus;
    caller.connect_peer(NodeId::new(2));
    until("a connection", || caller.is_alive(NodeId::new(2)).then_some(())).await;
    let deadline = Deadline::after(&Clock::system(), PATIENCE);
    let node = NodeId::new(2);
    let echoed = caller.call(node, 7, Bytes::from_static(b"abc"), deadline).await;
    assert_eq!(echoed, Ok(Bytes::from_static(b"abc")));
    let refused = caller.call(node, 7, Bytes::new(), deadline).await;
    assert_eq!(refused, Err(quipu_consensus::CallError::Refused("nothing from 1".to_owned())));
    let unknown = caller.call(node, 8, Bytes::new(), deadline).await;
    assert_eq!(unknown, Err(quipu_consensus::CallError::NoHandler { node, kind: 8 }));
}

/// A panic in the state machine ends the node, with its words.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_apply_ends_the_node() {
    let mut cluster = Cluster::start(Config::default()).await;
    let number = cluster.leader().await;
    let leader = cluster.group(number);
    let leadership = leader.leadership().unwrap();
    let lost = leader.propose(leadership, Bytes::from_static(b"panic"), None);
    let lost = tokio::time::timeout(PATIENCE, lost).await.expect("in time");
    assert_eq!(lost, Err(ProposeError::LeadershipLost));
    let mut fatal = cluster.node(number).fatal.clone();
    let reason = tokio::time::timeout(PATIENCE, fatal.wait()).await.expect("in time");
    assert!(reason.contains("apply") && reason.contains("asked to"), "{reason}");
    until("the group stopped", || (leader.status().borrow().role == Role::Stopped).then_some(()))
        .await;
    cluster.kill(number);
}

/// A replica joins, catches up, and gets a vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_learner_joins_and_becomes_a_voter() {
    let mut cluster = Cluster::plan(Config::default());
    for number in 1..=3 {
        cluster.start_node(number).await;
    }
    let members = [1, 2].map(|id| (ReplicaId::new(id), NodeId::new(id))).to_vec();
    cluster.group(1).initialize(members).await.unwrap();
    let all = commands(0..20);
    let leader = cluster.group(cluster.leader().await);
    for command in &all {
        leader.propose(leader.leadership().unwrap(), command.clone(), None).await.unwrap();
    }
    let leadership = leader.leadership().unwrap();
    leader.add_learner(leadership, ReplicaId::new(3), NodeId::new(3)).await.unwrap();
    cluster.agree_on(&all).await;
    assert_eq!(cluster.group(3).status().borrow().role, Role::Learner);
    let voters = [1, 2, 3].map(ReplicaId::new).to_vec();
    leader.change_voters(leadership, voters, false).await.unwrap();
    until("the learner votes", || {
        (cluster.group(3).status().borrow().role == Role::Follower).then_some(())
    })
    .await;
    let voters = [2, 3].map(ReplicaId::new).to_vec();
    leader.change_voters(leadership, voters, false).await.unwrap();
    let voters = |group: &quipu_consensus::Group| group.members().len();
    until("the first is gone", || (voters(&cluster.group(3)) == 2).then_some(())).await;
}

/// Whoever leads again is not who it was: others may have led in between, and what it saw before
/// may be so no more.
#[tokio::test(flavor = "multi_thread")]
async fn members_change_only_in_the_term_in_which_it_was_decided() {
    let mut cluster = Cluster::plan(Config::default());
    for number in 1..=3 {
        cluster.start_node(number).await;
    }
    let members = [1, 2].map(|id| (ReplicaId::new(id), NodeId::new(id))).to_vec();
    cluster.group(1).initialize(members).await.unwrap();
    let first = cluster.leader().await;
    let (leader, other) = (cluster.group(first), cluster.group(3 - first));
    let decided = leader.leadership().unwrap();
    for (from, to) in [(&leader, &other), (&other, &leader)] {
        until_async("a successor", async || {
            // Refused as long as it is behind.
            drop(from.transfer_leadership(to.replica()).await);
            to.leadership()
        })
        .await;
    }
    let (third, node) = (ReplicaId::new(3), NodeId::new(3));
    // Whoever was asked too often to take over may do so late: then it is asked to give back.
    let leads = async || {
        if leader.leadership().is_none() {
            drop(other.transfer_leadership(leader.replica()).await);
        }
        leader.leadership().filter(|again| again.term() > decided.term())
    };
    let is_lost = |result: Result<(), ChangeMembersError>| {
        assert!(result.is_err(), "members changed in a later term");
        (result == Err(ChangeMembersError::LeadershipLost)).then_some(())
    };
    until_async("a learner to be refused", async || {
        leads().await?;
        is_lost(leader.add_learner(decided, third, node).await)
    })
    .await;
    until_async("voters to be refused", async || {
        leads().await?;
        is_lost(leader.change_voters(decided, vec![leader.replica()], true).await)
    })
    .await;
    assert_eq!(leader.members().len(), 2);
    until_async("a learner", async || leader.add_learner(leads().await?, third, node).await.ok())
        .await;
    until_async("a removal to be refused", async || {
        leads().await?;
        is_lost(leader.remove_learners(decided, vec![third]).await)
    })
    .await;
    assert_eq!(leader.members().len(), 3);
}

/// A group of one leads itself at once, also after a restart: nobody else could.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_leads_itself() {
    let mut cluster = Cluster::plan(Config::default());
    cluster.start_node(1).await;
    cluster.group(1).initialize(vec![(ReplicaId::new(1), NodeId::new(1))]).await.unwrap();
    cluster.write("one").await;
    cluster.kill(1);
    let clock = Clock::system();
    let started = clock.monotonic();
    cluster.start_node(1).await;
    cluster.write("two").await;
    let took = clock.monotonic().saturating_sub(started);
    println!("a group of one wrote {took:?} after its restart");
    cluster.agree_on(&["one", "two"].map(|it| Bytes::from_static(it.as_bytes()))).await;
}

/// How fast, for whoever reads the output.
#[tokio::test(flavor = "multi_thread")]
async fn throughput_is_printed() {
    let cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let leadership = leader.leadership().unwrap();
    let clock = Clock::system();
    let command = Bytes::from(vec![0; 1_024]);
    let (count, in_flight) = (4_000, 64);
    let started = clock.monotonic();
    let mut under_way = futures::stream::FuturesUnordered::new();
    let mut proposed = 0;
    let mut done = 0;
    while done < count {
        while proposed < count && under_way.len() < in_flight {
            under_way.push(leader.propose(leadership, command.clone(), None));
            proposed += 1;
        }
        let next = futures::StreamExt::next(&mut under_way);
        tokio::time::timeout(PATIENCE, next).await.expect("in time").unwrap().unwrap();
        done += 1;
    }
    let took = clock.monotonic().saturating_sub(started).max(Duration::from_millis(1));
    let rate = f64::from(count) / took.as_secs_f64();
    println!("{count} entries of 1 KiB, {in_flight} in flight: {rate:.0}/s");
}
