//! A dead leader is replaced; leadership is handed over.

use bytes::Bytes;
use quipu_consensus::{Config, ProposeError, Role};
use quipu_runtime::Clock;
use quipu_types::ReplicaId;

use crate::cluster::{Cluster, PATIENCE, commands, until};

/// What was committed stays, and writing goes on, on two of three nodes. The time without a leader
/// is printed.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_leader_is_replaced_and_nothing_is_lost() {
    let mut cluster = Cluster::start(Config::default()).await;
    let clock = Clock::system();
    cluster.write("before").await;
    for round in 0..3 {
        let dead = cluster.leader().await;
        until("all are connected", || {
            let see_each_other = cluster.alive().all(|node| {
                let others = cluster.alive().map(|other| other.id());
                others.into_iter().all(|other| node.consensus.is_alive(other))
            });
            see_each_other.then_some(())
        })
        .await;
        let started = clock.monotonic();
        cluster.kill(dead);
        cluster.leader().await;
        let took = clock.monotonic().saturating_sub(started);
        println!("round {round}: node {dead} died, a new leader was ready after {took:?}");
        cluster.write("after").await;
        cluster.start_node(dead).await;
    }
    let expected = ["before", "after", "after", "after"];
    cluster.agree_on(&expected.map(|it| Bytes::from_static(it.as_bytes()))).await;
}

/// Raft's own timers do it when the death is not noticed.
#[tokio::test(flavor = "multi_thread")]
async fn timers_alone_replace_a_dead_leader() {
    let config = Config { is_failover_fast: false, ..Config::default() };
    let mut cluster = Cluster::start(config).await;
    let clock = Clock::system();
    cluster.write("before").await;
    let dead = cluster.leader().await;
    let started = clock.monotonic();
    cluster.kill(dead);
    cluster.leader().await;
    let took = clock.monotonic().saturating_sub(started);
    println!("by timers: a new leader was ready after {took:?}");
    cluster.write("after").await;
    cluster.agree_on(&["before", "after"].map(|it| Bytes::from_static(it.as_bytes()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::start(Config::default()).await;
    let from = cluster.leader().await;
    let to = from % 3 + 1;
    cluster.write("before").await;
    let leader = cluster.group(from);
    let replica = ReplicaId::new(u64::try_from(to).unwrap());
    until("the successor has caught up", || {
        let last = leader.positions().last?.index;
        let matched = leader.replication().into_iter().find(|(other, _, _)| *other == replica)?;
        (matched.2 == Some(last)).then_some(())
    })
    .await;
    leader.transfer_leadership(replica).await.unwrap();
    until("the successor is ready", || {
        let role = cluster.group(to).status().borrow().role;
        (role == Role::Leader { is_ready: true }).then_some(())
    })
    .await;
    assert_eq!(leader.leadership(), None);
    cluster.write("after").await;
    cluster.agree_on(&["before", "after"].map(|it| Bytes::from_static(it.as_bytes()))).await;
    let to_nobody = cluster.group(to).transfer_leadership(ReplicaId::new(99)).await;
    assert!(to_nobody.is_err());
}

/// A minority accepts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_commits_nothing() {
    let mut cluster = Cluster::start(Config::default()).await;
    let leader = cluster.leader().await;
    cluster.write("before").await;
    cluster.agree_on(&[Bytes::from_static(b"before")]).await;
    let others: Vec<usize> = (1..=3).filter(|number| *number != leader).collect();
    others.iter().for_each(|number| cluster.kill(*number));
    let group = cluster.group(leader);
    if let Some(leadership) = group.leadership() {
        let proposed = group.propose(leadership, commands(0..1)[0].clone(), None);
        let wait = std::time::Duration::from_secs(3);
        let proposed = tokio::time::timeout(wait, proposed).await;
        assert!(!matches!(proposed, Ok(Ok(_))), "{proposed:?}");
    }
    assert_eq!(cluster.node(leader).commands(crate::cluster::SHARD).len(), 1);
}

/// A paused leader keeps its sockets open: silence gives it away. When it wakes it learns that it
/// leads no more, and what it is asked meanwhile is not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_is_replaced_and_acknowledges_nothing_when_it_wakes() {
    let cluster = Cluster::start(Config::default()).await;
    cluster.write("before").await;
    let paused = cluster.leader().await;
    let group = cluster.group(paused);
    let stale = group.leadership().unwrap();
    let clock = Clock::system();
    let started = clock.monotonic();
    let pause = cluster.node(paused).pause().await;
    let others = [paused % 3 + 1, (paused + 1) % 3 + 1];
    let next = until("another leader", || {
        others.into_iter().find(|other| {
            cluster.group(*other).status().borrow().role == Role::Leader { is_ready: true }
        })
    })
    .await;
    let took = clock.monotonic().saturating_sub(started);
    println!("node {paused} paused, a new leader was ready after {took:?}");
    let leader = cluster.group(next);
    let leadership = leader.leadership().unwrap();
    leader.propose(leadership, Bytes::from_static(b"after"), None).await.unwrap();
    // Handed to the old leader before it can know.
    let doubtful = group.propose(stale, Bytes::from_static(b"doubtful"), None);
    drop(pause);
    let doubtful = tokio::time::timeout(PATIENCE, doubtful).await.expect("in time");
    assert!(
        matches!(doubtful, Err(ProposeError::NotLeader { .. } | ProposeError::LeadershipLost)),
        "{doubtful:?}"
    );
    cluster.agree_on(&["before", "after"].map(|it| Bytes::from_static(it.as_bytes()))).await;
}
