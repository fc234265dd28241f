//! Shards on one and on three nodes, in one process: real journals, tables and sockets.

mod batches;
mod node;

use std::time::Duration;

use quipu_partition::AppendRefused;
use quipu_shard::{
    AppendError, AppendRequest, Appended, ControlError, ControlOutcome, PartitionConfig,
    PartitionControl, Shard,
};
use quipu_types::{Acks, Effect, NodeId, Offset, PartitionId, Progress};

use batches::{batch, of_producer, partition};
use node::{Cluster, eventually};

/// Longer than anything here takes on a busy machine.
const WAIT: Duration = Duration::from_secs(30);

fn open(partition: PartitionId) -> PartitionControl {
    let config = PartitionConfig { segment_bytes: 64 << 10, segment_age_ms: 0 };
    PartitionControl::Open { partition, epoch_base: 0, config }
}

async fn append_with(
    cluster: &Cluster,
    shard: &Shard,
    fields: (PartitionId, quipu_types::record::ValidatedBatch, Acks, u8),
) -> Result<Appended, AppendError> {
    let (partition, batch, acks, min_insync) = fields;
    let deadline = cluster.deadline(WAIT);
    let begun = cluster.clock.monotonic();
    shard.append(AppendRequest { partition, batch, acks, min_insync, deadline, begun }).await
}

async fn append(
    cluster: &Cluster,
    shard: &Shard,
    to: PartitionId,
    count: i32,
) -> Result<Appended, AppendError> {
    append_with(cluster, shard, (to, batch(count), Acks::Quorum, 2)).await
}

/// Appends to whoever leads, until it is acknowledged or refused for good.
async fn append_somewhere(cluster: &Cluster, to: PartitionId, count: i32) -> Appended {
    let deadline = cluster.deadline(WAIT);
    loop {
        let leader = cluster.leader().await;
        match append(cluster, &leader, to, count).await {
            Ok(appended) => return appended,
            Err(error) if error.effect() == Effect::None && !deadline.is_past(&cluster.clock) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every running replica holds the same bytes of a partition.
async fn assert_same_everywhere(cluster: &Cluster, partition: PartitionId, end: u64) {
    let mut seen = Vec::new();
    for node in cluster.running() {
        let shard = &node.shard;
        eventually("a replica to catch up", || {
            let handle = shard.partition(partition)?;
            (handle.progress().high_watermark() == Offset::new(end)).then_some(())
        })
        .await;
        seen.push(shard.partition(partition).expect("hosted").checksum().expect("readable"));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "replicas differ: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_appends_deduplicates_trims_and_comes_back_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    let shard = cluster.leader().await;
    let (a, b) = (partition(1), partition(2));
    let early = append_with(&cluster, &shard, (a, batch(1), Acks::Quorum, 1)).await;
    assert_eq!(early, Err(AppendError::PartitionNotReady));

    let opened = shard.control(open(a), cluster.deadline(WAIT)).await;
    assert_eq!(opened, Ok(ControlOutcome::Opened { is_new: true }));
    let again = shard.control(open(a), cluster.deadline(WAIT)).await;
    assert_eq!(again, Ok(ControlOutcome::Opened { is_new: false }));
    shard.control(open(b), cluster.deadline(WAIT)).await.expect("opened");

    // Call order is offset order, although nobody waits in between.
    let mut waiting = Vec::new();
    for n in 0..200 {
        let deadline = cluster.deadline(WAIT);
        let request = AppendRequest {
            partition: if n % 4 == 0 { b } else { a },
            batch: of_producer(7, n / 4, n % 4 != 0),
            acks: Acks::Quorum,
            min_insync: 1,
            deadline,
            begun: cluster.clock.monotonic(),
        };
        let permit = shard.admit(request.batch.bytes().len()).await;
        waiting.push((n, shard.append_admitted(request, Some(permit))));
    }
    let mut last = [None; 2];
    for (n, appended) in waiting {
        let lane = usize::from(n % 4 == 0);
        match appended.await {
            Ok(appended) => {
                let base = appended.base_offset.expect("acks quorum").get();
                assert!(last[lane] < Some(base), "{base} after {:?}", last[lane]);
                last[lane] = Some(base);
            }
            Err(error) => panic!("append {n}: {error}"),
        }
    }
    let retry = append_with(&cluster, &shard, (b, of_producer(7, 49, false), Acks::Quorum, 1));
    let retry = retry.await.expect("a retry is answered");
    assert!(retry.is_duplicate);
    assert_eq!(retry.base_offset, Some(Offset::new(last[1].expect("appended"))));
    let gap = append_with(&cluster, &shard, (b, of_producer(7, 99, false), Acks::Quorum, 1)).await;
    assert!(
        matches!(gap, Err(AppendError::Refused(AppendRefused::OutOfOrderSequence { .. }))),
        "{gap:?}"
    );

    let to = Offset::new(20);
    let trim = PartitionControl::Trim { partition: a, to };
    let trimmed = shard.control(trim, cluster.deadline(WAIT)).await.expect("trimmed");
    assert_eq!(trimmed, ControlOutcome::Trimmed(Progress::new(to, Offset::new(150))));

    // Half of what follows is covered by a checkpoint, half comes from the journal.
    shard.group().checkpoint().await.expect("checkpoint");
    assert!(!shard.is_dirty());
    append_with(&cluster, &shard, (a, batch(5), Acks::Quorum, 1)).await.expect("appended");
    let before: Vec<_> = [a, b].map(|id| shard.partition(id).expect("hosted").checksum()).into();
    let epoch = shard.leader_epoch(a);
    drop(shard);
    cluster.restart(0).await;
    let shard = cluster.leader().await;
    assert_eq!(shard.partitions(), [a, b]);
    for (id, before) in [a, b].into_iter().zip(before) {
        let after = shard.partition(id).expect("hosted").checksum().expect("readable");
        assert_eq!(after, before.expect("readable"), "partition {id}");
    }
    assert!(shard.leader_epoch(a) > epoch, "a new term is a new epoch");
    let retry = append_with(&cluster, &shard, (b, of_producer(7, 49, false), Acks::Quorum, 1));
    assert!(retry.await.expect("a retry is answered").is_duplicate);

    let closed = PartitionControl::Close { partition: b, arrived_by: None };
    assert_eq!(shard.control(closed, cluster.deadline(WAIT)).await, Ok(ControlOutcome::Closed));
    assert!(shard.partition(b).is_none());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledgement_level_answers_on_one_node() {
    let cluster = Cluster::start(1).await;
    let shard = cluster.leader().await;
    let id = partition(1);
    shard.control(open(id), cluster.deadline(WAIT)).await.expect("opened");
    let none = append_with(&cluster, &shard, (id, batch(1), Acks::None, 1)).await.expect("taken");
    assert_eq!(none.base_offset, None);
    append_with(&cluster, &shard, (id, batch(1), Acks::Leader, 1)).await.expect("flushed");
    let quorum = append_with(&cluster, &shard, (id, batch(1), Acks::Quorum, 1)).await;
    assert_eq!(quorum.expect("applied").base_offset, Some(Offset::new(2)));
    let stamped = batch(1).with_log_append_time(quipu_types::TimestampMs::new(99));
    let stamped = append_with(&cluster, &shard, (id, stamped, Acks::Quorum, 1)).await;
    let time = stamped.expect("applied").log_append_time;
    assert_eq!(time, Some(quipu_types::TimestampMs::new(99)));
    let too_many = append(&cluster, &shard, id, 1).await;
    assert_eq!(too_many, Err(AppendError::NotEnoughReplicas { live: 1, required: 2 }));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_hold_the_same_bytes_and_outlive_one() {
    let mut cluster = Cluster::start(3).await;
    let id = partition(1);
    let leader = cluster.leader().await;
    leader.control(open(id), cluster.deadline(WAIT)).await.expect("opened");
    for n in 0..50 {
        let all = if n % 10 == 0 { 3 } else { 2 };
        // A busy machine may take a follower for dead; what was refused had no effect.
        let until = cluster.deadline(WAIT);
        let appended = loop {
            let answer = append_with(&cluster, &leader, (id, batch(2), Acks::Quorum, all)).await;
            let is_short = matches!(answer, Err(AppendError::NotEnoughReplicas { .. }));
            if !is_short || until.is_past(&cluster.clock) {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(appended.expect("applied").base_offset, Some(Offset::new(2 * n)));
    }
    assert_same_everywhere(&cluster, id, 100).await;

    // A follower says who leads, and forwards control commands.
    let leads = cluster.leader_node().await;
    let follower = cluster.running().find(|node| node.id != leads).expect("a follower");
    let follower = follower.shard.clone();
    let refused = append(&cluster, &follower, id, 1).await;
    assert_eq!(refused, Err(AppendError::NotLeader { leader: Some(leads) }));
    let other = partition(2);
    let opened = follower.control(open(other), cluster.deadline(WAIT)).await;
    assert_eq!(opened, Ok(ControlOutcome::Opened { is_new: true }));

    // The leader dies: the others go on, and it catches up when it is back.
    drop((leader, follower));
    let place = cluster.kill(leads).await;
    append_somewhere(&cluster, id, 1).await;
    for _ in 0..20 {
        append_somewhere(&cluster, id, 1).await;
    }
    let refused = {
        let shard = cluster.leader().await;
        append_with(&cluster, &shard, (id, batch(1), Acks::Quorum, 3)).await
    };
    assert_eq!(refused, Err(AppendError::NotEnoughReplicas { live: 2, required: 3 }));
    cluster.restart(place).await;
    assert_same_everywhere(&cluster, id, 121).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_far_behind_catches_up_by_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let (full, trimmed, closed) = (partition(1), partition(2), partition(3));
    let leader = cluster.leader().await;
    for id in [full, trimmed, closed] {
        leader.control(open(id), cluster.deadline(WAIT)).await.expect("opened");
        append(&cluster, &leader, id, 1).await.expect("applied");
    }
    drop(leader);
    assert_same_everywhere(&cluster, full, 1).await;
    let leads = cluster.leader_node().await;
    let behind = cluster.running().find(|node| node.id != leads).expect("a follower").id;
    let place = cluster.kill(behind).await;

    let leader = cluster.leader().await;
    for _ in 0..600 {
        append(&cluster, &leader, full, 3).await.expect("applied");
        append_with(&cluster, &leader, (trimmed, batches::large(1_000), Acks::Quorum, 2))
            .await
            .expect("applied");
    }
    let trim = PartitionControl::Trim { partition: trimmed, to: Offset::new(500) };
    leader.control(trim, cluster.deadline(WAIT)).await.expect("trimmed");
    let close = PartitionControl::Close { partition: closed, arrived_by: None };
    leader.control(close, cluster.deadline(WAIT)).await.expect("closed");
    drop(leader);
    for node in cluster.running() {
        node.shard.group().checkpoint().await.expect("checkpoint");
    }
    // Only when the leader has given up the last try to reach the node.
    let leader = cluster.leader().await;
    let forgotten = || leader.group().positions().purged;
    eventually("the journal to forget what the node lacks", forgotten).await;
    drop(leader);

    cluster.restart(place).await;
    assert_same_everywhere(&cluster, full, 1 + 600 * 3).await;
    assert_same_everywhere(&cluster, trimmed, 601).await;
    let back = cluster.running().find(|node| node.id == behind).expect("running").shard.clone();
    assert_eq!(back.partitions(), [full, trimmed]);
    let progress = back.partition(trimmed).expect("hosted").progress();
    assert_eq!(progress.log_start(), Offset::new(500));
    drop(back);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_takes_nothing_and_says_so() {
    let mut cluster = Cluster::start(3).await;
    let id = partition(1);
    let leader = cluster.leader().await;
    leader.control(open(id), cluster.deadline(WAIT)).await.expect("opened");
    append(&cluster, &leader, id, 1).await.expect("applied");
    drop(leader);
    let leads = cluster.leader_node().await;
    let others: Vec<NodeId> =
        cluster.running().map(|node| node.id).filter(|node| *node != leads).collect();
    for node in others {
        cluster.kill(node).await;
    }
    let left = cluster.running().next().expect("one is left").shard.clone();
    let deadline = cluster.deadline(WAIT);
    loop {
        let short = cluster.deadline(Duration::from_millis(300));
        let request = AppendRequest {
            partition: id,
            batch: batch(1),
            acks: Acks::Quorum,
            min_insync: 2,
            deadline: short,
            begun: cluster.clock.monotonic(),
        };
        match left.append(request).await {
            Err(AppendError::NotEnoughReplicas { live: 1, required: 2 }) => break,
            // Until the silence of the others is noticed, it may have been proposed.
            Err(error) if !deadline.is_past(&cluster.clock) => {
                assert_ne!(error, AppendError::UnknownPartition);
            }
            other => panic!("{other:?}"),
        }
    }
    let trim = PartitionControl::Trim { partition: id, to: Offset::ZERO };
    let control = left.control(trim, cluster.deadline(Duration::from_secs(3))).await;
    assert!(
        matches!(control, Err(ControlError::NotLeader { .. } | ControlError::Deadline)),
        "{control:?}"
    );
    drop(left);
    cluster.stop().await;
}
