//! What nodes know after a restart, and how they catch up.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use quipu_consensus::{Config, OpenGroupError, Role};
use quipu_types::LogIndex;

use crate::cluster::{Cluster, SHARD, commands, until};
use crate::gate::{Gate, GatedDisk};

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_come_back_with_everything() {
    let mut cluster = Cluster::start(Config::default()).await;
    let leader = cluster.group(cluster.leader().await);
    let all = commands(0..100);
    for command in &all {
        leader.propose(leader.leadership().unwrap(), command.clone(), None).await.unwrap();
    }
    cluster.agree_on(&all).await;
    cluster.group(2).checkpoint().await.unwrap();
    (1..=3).for_each(|number| cluster.kill(number));
    for number in 1..=3 {
        cluster.start_node(number).await;
    }
    assert!(cluster.group(1).is_initialized());
    cluster.write("after").await;
    let expected: Vec<Bytes> = all.into_iter().chain([Bytes::from_static(b"after")]).collect();
    cluster.agree_on(&expected).await;
    // Formed once, for ever.
    let again = cluster.group(1).initialize(Vec::new()).await;
    assert!(again.is_err());
}

/// A follower that was away while the others purged their journals gets a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_the_purge_point_gets_a_snapshot() {
    let config = Config { entries_kept: 10, ..Config::default() };
    let mut cluster = Cluster::start(config).await;
    let number = cluster.leader().await;
    cluster.write("before").await;
    let away = number % 3 + 1;
    cluster.kill(away);
    let leader = cluster.group(number);
    let all = commands(0..200);
    for command in &all {
        leader.propose(leader.leadership().unwrap(), command.clone(), None).await.unwrap();
    }
    let covered = leader.checkpoint().await.unwrap().unwrap();
    assert!(covered >= LogIndex::new(200));
    until("the journal is purged", || {
        let purged = leader.positions().purged?;
        (purged.index >= LogIndex::new(covered.get() - 10)).then_some(())
    })
    .await;
    cluster.start_node(away).await;
    let mut expected = vec![Bytes::from_static(b"before")];
    expected.extend(all);
    cluster.agree_on(&expected).await;
    // It has the state from the snapshot, not from entries: its own journal begins after it, a
    // moment after the state is there.
    until("its journal begins after the snapshot", || {
        let purged = cluster.group(away).positions().purged?;
        (purged.index.get() + 10 >= covered.get()).then_some(())
    })
    .await;
    // And keeps it over a restart.
    cluster.kill(away);
    cluster.start_node(away).await;
    cluster.write("after").await;
    expected.push(Bytes::from_static(b"after"));
    cluster.agree_on(&expected).await;
}

/// OPENRAFT A.9: a leader whose own journal lags behind its followers' loses its tail and comes
/// back at once. If it resumed its term, it would give the acknowledged entry's place to another.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_lost_its_tail_does_not_resume_its_term() {
    // No campaign before it is back.
    let config = Config { is_failover_fast: false, ..Config::default() };
    let mut cluster = Cluster::plan(config);
    let gate = Gate::open();
    cluster.plan_of(1).disk = Arc::new(GatedDisk::new(Arc::clone(&gate)));
    for number in 1..=3 {
        cluster.start_node(number).await;
    }
    let members = (1..=3).map(|id| (quipu_types::ReplicaId::new(id), quipu_types::NodeId::new(id)));
    cluster.group(1).initialize(members.collect()).await.unwrap();
    assert_eq!(cluster.leader().await, 1);
    cluster.write("X").await;
    cluster.agree_on(&[Bytes::from_static(b"X")]).await;

    gate.hold();
    let acknowledged = cluster.write("A").await;
    let two: Vec<Bytes> = ["X", "A"].map(|it| Bytes::from_static(it.as_bytes())).to_vec();
    cluster.agree_on(&two).await;
    gate.lose();
    cluster.kill(1);
    cluster.plan_of(1).disk = quipu_disk::real();
    cluster.start_node(1).await;

    let next = cluster.write("B").await;
    assert!(next.id.index > acknowledged.id.index, "{next:?} took the place of {acknowledged:?}");
    assert!(next.id.term > acknowledged.id.term, "the term was resumed");
    let three: Vec<Bytes> = ["X", "A", "B"].map(|it| Bytes::from_static(it.as_bytes())).to_vec();
    cluster.agree_on(&three).await;
}

/// Who closes a group may remove what it stored: a checkpoint under way is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_group_stores_nothing_any_more() {
    let mut cluster = Cluster::plan(Config::default());
    let gate = Gate::open();
    cluster.plan_of(3).disk = Arc::new(GatedDisk::new(Arc::clone(&gate)));
    for number in 1..=3 {
        cluster.start_node(number).await;
    }
    let members = (1..=3).map(|id| (quipu_types::ReplicaId::new(id), quipu_types::NodeId::new(id)));
    cluster.group(1).initialize(members.collect()).await.unwrap();
    cluster.write("X").await;
    cluster.agree_on(&[Bytes::from_static(b"X")]).await;

    gate.hold();
    cluster.write("Y").await;
    until("a write that waits", || gate.is_asked().then_some(())).await;
    let (group, consensus) = (cluster.group(3), Arc::clone(&cluster.node(3).consensus));
    let file = cluster.plan_of(3).directory.join(format!("checkpoint-{SHARD}"));
    let (made, stored) = futures::join!(group.checkpoint(), async {
        let is_under_way = || group.checkpointed().now_or_never().is_none().then_some(());
        until("the checkpoint to wait for the journal", is_under_way).await;
        let releasing = async {
            let mut status = group.status();
            status.wait_for(|status| status.role == Role::Stopped).await.unwrap();
            gate.release();
        };
        futures::join!(consensus.close_group(SHARD), releasing);
        let stored = std::fs::read(&file).ok();
        assert!(group.checkpoint().await.is_err(), "it is closed");
        stored
    });
    // Made before the group was closed, or not at all.
    assert_eq!(std::fs::read(&file).ok(), stored, "{made:?}: it went on behind the close");
}

/// Without its journal a replica no longer knows what it promised.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_journal_was_wiped_is_refused() {
    let mut cluster = Cluster::start(Config::default()).await;
    cluster.write("X").await;
    cluster.agree_on(&[Bytes::from_static(b"X")]).await;
    cluster.group(3).checkpoint().await.unwrap();
    cluster.kill(3);
    let plan = cluster.plan_of(3).clone();
    std::fs::remove_dir_all(plan.directory.join("journal")).unwrap();
    let node = crate::node::Node::start(plan).await;
    let refused = node.open(SHARD).await;
    assert!(matches!(refused, Err(OpenGroupError::Recovery(_))), "{refused:?}");
}
