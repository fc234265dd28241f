//! Members of a group: positions, assignments, revocations, pause and seek.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_client::{
    AckError, Client, Consumer, ConsumerBuilder, ConsumerEvent, Error, ErrorCode, Message,
    NewRecord, Rebalance, Start, StartAt, TopicPartition,
};
use quipu_proto::v1;

use crate::fake::Cluster;
use crate::reading::fill;

pub(crate) fn member(client: &Client) -> ConsumerBuilder {
    client.subscribe(["fees"]).group("sms").commit_interval(Duration::from_millis(10))
}

pub(crate) async fn next(consumer: &mut Consumer) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(10), consumer.next());
    next.await.expect("a message comes").unwrap().unwrap()
}

/// Nothing is there to be delivered.
pub(crate) fn assert_nothing(consumer: &mut Consumer) {
    let waker = futures::task::noop_waker();
    let mut context = std::task::Context::from_waker(&waker);
    let polled = futures::StreamExt::poll_next_unpin(consumer, &mut context);
    assert!(polled.is_pending(), "{polled:?}");
}

fn fees(partition: u32) -> TopicPartition {
    TopicPartition::new("fees", partition)
}

#[tokio::test]
async fn an_acknowledgement_resolves_when_the_position_that_covers_it_is_committed() {
    let cluster = Cluster::start(2, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    let messages: Vec<Message> =
        vec![next(&mut consumer).await, next(&mut consumer).await, next(&mut consumer).await];
    assert!(messages.iter().map(|message| message.offset).eq(0..3));
    let mut second = std::pin::pin!(messages[1].ack());
    assert!(futures::poll!(&mut second).is_pending());
    messages[2].ack_later();
    assert_eq!(consumer.positions(), BTreeMap::from([(fees(0), 0)]));
    messages[0].ack().await.unwrap();
    second.await.unwrap();
    cluster.until_stored(0, 3).await;
    assert!(cluster.lock().groups.commits.iter().all(|(epoch, _)| *epoch == 1));
    messages[1].ack().await.unwrap();
    assert_eq!(consumer.assignment(), [fees(0)]);
    assert_eq!(consumer.positions(), BTreeMap::from([(fees(0), 3)]));
}

#[tokio::test]
async fn reading_goes_on_at_the_position_of_the_group() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    fill(&client, 1, 10, 5).await;
    {
        let mut state = cluster.lock();
        state.groups.assigned = vec![0, 1];
        state.groups.stored = BTreeMap::from([(0, 7)]);
    }
    let mut consumer = member(&client).join().await.unwrap();
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    for _ in 0..13 {
        let message = next(&mut consumer).await;
        first.entry(message.partition).or_insert(message.offset);
        message.ack_later();
    }
    assert_eq!(first, BTreeMap::from([(0, 7), (1, 0)]));
    cluster.until_stored(0, 10).await;
    cluster.until_stored(1, 10).await;
}

#[tokio::test]
async fn the_latest_is_fixed_when_the_subscription_begins_and_stored() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    cluster.lock().groups.assigned = vec![];
    let mut consumer = member(&client).start_at(Start::Latest).join().await.unwrap();
    fill(&client, 0, 2, 1).await;
    cluster.assign(&[0], &[]).await;
    assert_eq!(next(&mut consumer).await.offset, 10);
    cluster.until_stored(0, 10).await;
}

#[tokio::test]
async fn a_group_that_starts_nowhere_says_so_and_can_be_told() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).start_at(StartAt::None).join().await.unwrap();
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::NoPosition(at) if at.partition == 0), "{error}");
    consumer.seek("fees", 0, Start::Last(1)).await.unwrap();
    assert_eq!(next(&mut consumer).await.offset, 9);
}

#[tokio::test]
async fn a_revoked_partition_is_held_until_its_messages_are_settled_and_committed() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    fill(&client, 1, 10, 5).await;
    cluster.lock().groups.assigned = vec![1];
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = changes.clone();
    let builder = member(&client).on_rebalance(move |change| seen.lock().unwrap().push(change));
    let mut consumer = builder.commit_interval(Duration::from_secs(60)).join().await.unwrap();
    let message = next(&mut consumer).await;
    cluster.assign(&[0], &[1]).await;
    cluster.until("both are held", |it| it.groups.held == [0, 1]).await;
    let count = cluster.lock().groups.requests.len();
    cluster.until("heartbeats go on", |it| it.groups.requests.len() > count + 3).await;
    assert_eq!(cluster.lock().groups.held, [0, 1], "its message is not settled");
    // Nothing of it is delivered although nine records are there.
    let other = next(&mut consumer).await;
    assert_eq!(other.partition, 0);
    message.ack_later();
    cluster.until("it is let go", |it| it.groups.held == [0]).await;
    assert_eq!(cluster.lock().groups.stored.get(&1), Some(&1), "committed before");
    assert!(matches!(message.ack().await, Err(AckError::AssignmentLost)));
    cluster.assign(&[0, 1], &[]).await;
    loop {
        let again = next(&mut consumer).await;
        if again.partition == 1 {
            assert_eq!(again.offset, 1, "it goes on where the group stands");
            break;
        }
    }
    let expected = [
        Rebalance::Assigned(vec![fees(1)]),
        Rebalance::Revoked(vec![fees(1)]),
        Rebalance::Assigned(vec![fees(0)]),
        Rebalance::Assigned(vec![fees(1)]),
    ];
    assert_eq!(*changes.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_revoked_partition_whose_messages_were_dropped_is_let_go_at_once() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    drop(next(&mut consumer).await);
    cluster.until("it is held", |it| it.groups.held == [0]).await;
    cluster.assign(&[], &[0]).await;
    cluster.until("it is let go", |it| it.groups.held.is_empty()).await;
    assert!(cluster.lock().groups.commits.is_empty(), "nothing was acknowledged");
    assert_nothing(&mut consumer);
}

#[tokio::test]
async fn a_stale_commit_loses_the_assignment_and_others_go_on() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    fill(&client, 1, 10, 5).await;
    {
        let mut state = cluster.lock();
        state.groups.assigned = vec![0, 1];
        state.groups.stale.insert(0);
    }
    let mut consumer = member(&client).join().await.unwrap();
    let mut first: BTreeMap<u32, Message> = BTreeMap::new();
    while first.len() < 2 {
        let message = next(&mut consumer).await;
        first.entry(message.partition).or_insert(message);
    }
    let (lost, kept) = futures::join!(first[&0].ack(), first[&1].ack());
    assert!(matches!(lost, Err(AckError::AssignmentLost)), "{lost:?}");
    kept.unwrap();
    assert_eq!(cluster.lock().groups.stored, BTreeMap::from([(1, 1)]));
    // It is assigned still: with the next heartbeat it is taken again, where the group stands.
    cluster.lock().groups.stale.clear();
    loop {
        let again = next(&mut consumer).await;
        if again.partition == 0 {
            assert_eq!(again.offset, 0, "nothing of it was committed");
            again.ack().await.unwrap();
            break;
        }
    }
}

#[tokio::test]
async fn nothing_fetched_before_a_pause_or_a_seek_is_delivered_after_it() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 20, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    let old = next(&mut consumer).await;
    consumer.seek("fees", 0, Start::Offset(12)).await.unwrap();
    assert!(matches!(old.ack().await, Err(AckError::AssignmentLost)));
    assert_eq!(next(&mut consumer).await.offset, 12);
    consumer.pause([fees(0)]).unwrap();
    assert_nothing(&mut consumer);
    consumer.seek("fees", 0, Start::Offset(3)).await.unwrap();
    assert_nothing(&mut consumer);
    consumer.resume([fees(0)]).unwrap();
    assert_eq!(next(&mut consumer).await.offset, 3);
    consumer.pause([fees(0)]).unwrap();
    consumer.resume([fees(0)]).unwrap();
    assert_eq!(next(&mut consumer).await.offset, 4, "a pause loses nothing");
    let error = consumer.pause([fees(7)]).unwrap_err();
    assert!(error.to_string().contains("fees/7 is not assigned"), "{error}");
}

#[tokio::test]
async fn events_removed_before_they_were_read_are_told_and_skipped() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 20, 5).await;
    client.admin().delete_records("fees", 0, Some(10)).await.unwrap();
    cluster.lock().groups.stored = BTreeMap::from([(0, 3)]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let builder = member(&client).on_event(move |event| seen.lock().unwrap().push(event));
    let mut consumer = builder.join().await.unwrap();
    assert_eq!(next(&mut consumer).await.offset, 10);
    let expected = ConsumerEvent::BelowStart { partition: fees(0), position: 3, log_start: 10 };
    assert_eq!(*events.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_position_above_the_end_is_an_error_of_its_partition_only() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 5, 5).await;
    fill(&client, 1, 5, 5).await;
    {
        let mut state = cluster.lock();
        state.groups.assigned = vec![0, 1];
        state.groups.stored = BTreeMap::from([(0, 99)]);
    }
    let mut consumer = member(&client).join().await.unwrap();
    let (mut messages, mut errors) = (0, 0);
    while messages < 5 || errors < 1 {
        match consumer.next().await.unwrap() {
            Ok(message) => messages += u32::from(message.partition == 1),
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
                errors += 1;
            }
        }
    }
    consumer.seek("fees", 0, Start::Earliest).await.unwrap();
    assert_eq!(next(&mut consumer).await.partition, 0);
}

#[tokio::test]
async fn the_subscription_says_everything_the_coordinator_must_know() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let builder = member(&client).pattern("court\\..*").instance("sms-1");
    let consumer = builder.session_timeout(Duration::from_secs(30)).join().await.unwrap();
    let firsts = cluster.lock().groups.firsts();
    let (_, first) = firsts.first().unwrap();
    assert_eq!((first.group.as_str(), &first.member_id[..]), ("sms", consumer.member_id()));
    let subscription = first.subscription.clone().unwrap();
    assert_eq!(subscription.topics, ["fees"]);
    assert_eq!(subscription.patterns, ["court\\..*"]);
    assert_eq!(subscription.client, "test");
    assert_eq!(subscription.instance_id, "sms-1");
    assert_eq!(subscription.session_timeout_ms, 30_000);
    assert_eq!(subscription.assignor(), v1::Assignor::Uniform);
}

#[tokio::test]
async fn what_makes_no_sense_or_does_not_exist_is_an_error_of_the_call() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let error = client.subscribe(["fees"]).join().await.unwrap_err();
    assert!(error.to_string().contains("needs a group"), "{error}");
    let nothing: [String; 0] = [];
    let error = client.subscribe(nothing).group("sms").join().await.unwrap_err();
    assert!(error.to_string().contains("topic or a pattern"), "{error}");
    let short = member(&client).session_timeout(Duration::from_secs(1));
    assert!(matches!(short.join().await.unwrap_err(), Error::Invalid(_)));
    let error = client.subscribe(["nothing"]).group("sms").join().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    cluster.lock().groups.refuse = Some(ErrorCode::InstanceInUse);
    let error = member(&client).instance("sms-1").join().await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[tokio::test]
async fn groups_are_administered_from_outside() {
    let cluster = Cluster::start(3, 2).await;
    let client = cluster.client().await;
    client.publish(NewRecord::new("fees", "0")).await.unwrap();
    cluster.lock().groups.coordinator = 3;
    let admin = client.admin();
    let names = admin.list_groups().await.unwrap();
    let names: Vec<&str> = names.iter().map(|group| group.group.as_str()).collect();
    assert_eq!(names, ["group-1", "group-2", "group-3"]);
    assert!(admin.describe_group("sms").await.unwrap_err().is_not_found());
    assert!(admin.delete_group("sms").await.unwrap_err().is_conflict());
    admin.commit_offsets("sms", [("fees", 1, 4)]).await.unwrap();
    let stored = admin.fetch_offsets("sms").await.unwrap();
    assert_eq!(stored[&fees(1)].offset, 4);
    admin.reset_offsets("sms", [("fees", 1, 9)], true).await.unwrap();
    assert_eq!(cluster.lock().groups.calls, ["1 9 true"]);
    cluster.lock().groups.stale.insert(0);
    let error = admin.commit_offsets("sms", [("fees", 0, 4)]).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::StaleMemberEpoch));
}
