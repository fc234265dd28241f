//! Topics that get more partitions while clients use them.

use std::time::Duration;

use quipu_client::{Client, ErrorCode, NewRecord, Start, StartAt, TimestampMs};

use crate::consuming::{member, next};
use crate::fake::{Act, Cluster};
use crate::reading::fill;

/// With ten partitions this key is of partition 7, with one of partition 0.
const KEY: &str = "abc";

async fn in_time<T>(condition: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), condition).await.expect("in time")
}

#[tokio::test]
async fn more_partitions_are_added_the_same_number_is_no_change_and_fewer_are_refused() {
    let cluster = Cluster::start(1, 2).await;
    let admin = cluster.client().await.admin();
    let grown = admin.add_partitions("fees", 5).await.unwrap();
    assert_eq!((grown.before, grown.topic.partitions.len(), grown.is_changed), (2, 5, true));
    let same = admin.add_partitions("fees", 5).await.unwrap();
    assert_eq!((same.before, same.topic.partitions.len(), same.is_changed), (5, 5, false));
    let error = admin.add_partitions("fees", 4).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidPartitions));
    assert!(admin.add_partitions("nothing", 4).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_producer_uses_new_partitions_and_keeps_the_order_within_the_old() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().linger(Duration::ZERO).batch_bytes(1).build().unwrap();
    cluster.script(|_| Act::Hold);
    let mut deliveries = Vec::new();
    for number in 0..20 {
        let record = NewRecord::new("fees", number.to_string()).partition(0);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    cluster.until("five batches are on their way", |it| it.open == 5).await;
    client.admin().add_partitions("fees", 10).await.unwrap();
    for number in 20..40 {
        let record = NewRecord::new("fees", number.to_string()).partition(0);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    let keyed = producer.enqueue(NewRecord::new("fees", "keyed").key(KEY)).await.unwrap();
    cluster.release(100);
    for (number, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, Some(number));
    }
    let keyed = keyed.await.unwrap();
    assert_eq!((keyed.partition, keyed.offset), (7, Some(0)));
    let expected: Vec<String> = (0..40).map(|number: u32| number.to_string()).collect();
    assert_eq!(cluster.values(0), expected);
}

#[tokio::test]
async fn a_producer_hears_of_new_partitions_with_the_next_refresh() {
    let cluster = Cluster::start(1, 1).await;
    let builder = Client::builder(&cluster.address(1)).metadata_refresh(Duration::from_millis(10));
    let producer = builder.connect().await.unwrap().producer().build().unwrap();
    let record = || NewRecord::new("fees", "0").key(KEY);
    assert_eq!(producer.publish(record()).await.unwrap().partition, 0);
    cluster.client().await.admin().add_partitions("fees", 10).await.unwrap();
    in_time(async {
        while producer.prepare("fees").await.unwrap() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let receipt = producer.publish(record()).await.unwrap();
    assert_eq!((receipt.partition, receipt.offset), (7, Some(0)));
}

/// The regular refresh is half a minute away.
#[tokio::test]
async fn naming_a_partition_that_is_not_known_asks_for_newer_knowledge() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer().build().unwrap();
    producer.prepare("fees").await.unwrap();
    cluster.client().await.admin().add_partitions("fees", 4).await.unwrap();
    let record = || NewRecord::new("fees", "0").partition(3);
    let error = producer.publish(record()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownPartition));
    let receipt = in_time(async {
        loop {
            match producer.publish(record()).await {
                Ok(receipt) => return receipt,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(receipt.offset, Some(0));
}

#[tokio::test]
async fn a_partition_added_later_is_read_from_its_beginning_whatever_the_start() {
    let starts = [
        Start::Earliest.into(),
        Start::Latest.into(),
        Start::Last(1).into(),
        Start::Offset(7).into(),
        Start::Timestamp(TimestampMs::new(99_000)).into(),
        StartAt::None,
    ];
    for start in starts {
        let cluster = Cluster::start(1, 1).await;
        let client = cluster.client().await;
        cluster.lock().groups.assigned = vec![];
        let mut consumer = member(&client).start_at(start).join().await.unwrap();
        client.admin().add_partitions("fees", 2).await.unwrap();
        fill(&client, 1, 10, 5).await;
        cluster.assign(&[1], &[]).await;
        let first = next(&mut consumer).await;
        assert_eq!((first.partition, first.offset), (1, 0), "{start:?}");
    }
}

#[tokio::test]
async fn a_group_that_was_away_misses_nothing_of_what_was_added_meanwhile() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    client.admin().add_partitions("fees", 3).await.unwrap();
    fill(&client, 2, 10, 5).await;
    {
        let mut state = cluster.lock();
        state.groups.assigned = vec![0, 1, 2];
        state.groups.stored = [(0, 10), (1, 0)].into();
    }
    let mut consumer = member(&client).start_at(Start::Latest).join().await.unwrap();
    let first = next(&mut consumer).await;
    assert_eq!((first.partition, first.offset), (2, 0));
    first.ack_later();
    cluster.until_stored(2, 1).await;
}

/// The counterpart: where the group never read, the latest is the latest.
#[tokio::test]
async fn a_new_group_starts_at_the_end_of_every_partition_there_is() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    client.admin().add_partitions("fees", 3).await.unwrap();
    for partition in 0..3 {
        fill(&client, partition, 10, 5).await;
    }
    cluster.lock().groups.assigned = vec![0, 1, 2];
    let mut consumer = member(&client).start_at(Start::Latest).join().await.unwrap();
    for partition in 0..3 {
        cluster.until_stored(partition, 10).await;
    }
    fill(&client, 2, 1, 1).await;
    let first = next(&mut consumer).await;
    assert_eq!((first.partition, first.offset), (2, 10));
}
