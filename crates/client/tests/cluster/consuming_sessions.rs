//! Memberships: coordinators that move, streams that break, sessions that expire, farewells.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_client::{AckError, ConsumerState, Error, ErrorCode};
use quipu_proto::v1;

use crate::consuming::{assert_nothing, member, next};
use crate::fake::Cluster;
use crate::reading::fill;

#[tokio::test]
async fn the_coordinator_is_followed_when_it_moves_and_the_epoch_stays() {
    let cluster = Cluster::start(3, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    cluster.lock().groups.coordinator = 3;
    let mut consumer = member(&client).join().await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    cluster.lock().groups.coordinator = 2;
    cluster.break_join().await;
    cluster.until("it is at node 2", |it| it.groups.firsts().last().unwrap().0 == 2).await;
    let firsts = cluster.lock().groups.firsts();
    let (_, resumed) = firsts.last().unwrap();
    assert_eq!(resumed.epoch, 1, "the membership goes on");
    let held = resumed.held.clone().unwrap().partitions;
    assert_eq!(held[0].partitions, [0]);
    assert_eq!(cluster.lock().groups.joins(), firsts.iter().filter(|it| it.1.epoch == 0).count());
    next(&mut consumer).await.ack().await.unwrap();
    cluster.until_stored(0, 2).await;
}

#[tokio::test]
async fn a_broken_stream_is_resumed_and_reading_goes_on_meanwhile() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    let first = next(&mut consumer).await;
    let mut state = consumer.state();
    cluster.break_join().await;
    state.wait_for(|state| matches!(state, ConsumerState::Reconnecting { .. })).await.unwrap();
    state.wait_for(|state| *state == ConsumerState::Stable { epoch: 1 }).await.unwrap();
    first.ack().await.unwrap();
    assert_eq!(next(&mut consumer).await.offset, 1, "nothing was dropped");
    let firsts = cluster.lock().groups.firsts();
    assert_eq!(firsts.iter().map(|(_, it)| it.epoch).collect::<Vec<u64>>(), [0, 1]);
}

#[tokio::test]
async fn a_member_the_group_does_not_know_drops_everything_and_joins_anew() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    let open = next(&mut consumer).await;
    cluster.lock().groups.refuse = Some(ErrorCode::UnknownMember);
    cluster.until("it joined anew", |it| it.groups.joins() == 2).await;
    let firsts = cluster.lock().groups.firsts();
    assert!(firsts[1].1.held.clone().unwrap().partitions.is_empty(), "everything was dropped");
    assert!(matches!(open.ack().await, Err(AckError::AssignmentLost)));
    assert_eq!(next(&mut consumer).await.offset, 1, "delivered again");
    let mut state = consumer.state();
    state.wait_for(|state| *state == ConsumerState::Stable { epoch: 2 }).await.unwrap();
}

#[tokio::test]
async fn a_member_that_hears_nothing_for_the_session_timeout_is_none_any_more() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let builder = member(&client).session_timeout(Duration::from_secs(6));
    let mut consumer = builder.join().await.unwrap();
    let open = next(&mut consumer).await;
    let mut state = consumer.state();
    cluster.lock().groups.is_silent = true;
    let begun = tokio::time::Instant::now();
    tokio::time::pause();
    state.wait_for(|state| *state == ConsumerState::Rejoining).await.unwrap();
    let waited = begun.elapsed();
    tokio::time::resume();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert!(waited <= Duration::from_millis(6_300), "{waited:?}");
    assert!(matches!(open.ack().await, Err(AckError::Expired)));
    assert!(consumer.assignment().is_empty());
    assert_nothing(&mut consumer);
    cluster.lock().groups.is_silent = false;
    assert_eq!(next(&mut consumer).await.offset, 0, "delivered again");
    let firsts = cluster.lock().groups.firsts();
    assert_eq!(firsts.last().unwrap().1.epoch, 0);
}

#[tokio::test]
async fn a_message_that_takes_too_long_is_an_error_in_the_stream_and_the_member_leaves() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let builder = member(&client).processing_timeout(Duration::from_secs(1));
    let mut consumer = builder.join().await.unwrap();
    let late = next(&mut consumer).await;
    cluster.until("it left", |it| it.groups.left() == Some(v1::Leaving::Stuck)).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    let Error::ProcessingTimeout(found) = &error else { panic!("{error}") };
    assert_eq!((found.partition, found.offset, found.limit.as_secs()), (0, 0, 1));
    assert!(matches!(late.ack().await, Err(AckError::Expired)));
    assert_eq!(cluster.lock().groups.joins(), 1, "it joins again when it is asked for more");
    assert_eq!(next(&mut consumer).await.offset, 0, "delivered again");
    assert_eq!(cluster.lock().groups.joins(), 2);
}

#[tokio::test]
async fn a_shutdown_waits_for_messages_commits_and_leaves() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let builder = member(&client).commit_interval(Duration::from_secs(60));
    let mut consumer = builder.join().await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    let mut state = consumer.state();
    first.ack_later();
    let mut closing = std::pin::pin!(consumer.shutdown(Duration::from_secs(5)));
    assert!(futures::poll!(&mut closing).is_pending());
    second.ack().await.unwrap();
    closing.await.unwrap();
    let state_now = state.borrow_and_update().clone();
    assert_eq!(state_now, ConsumerState::Closed);
    let groups = &cluster.lock().groups;
    assert_eq!(groups.stored, BTreeMap::from([(0, 2)]));
    assert_eq!(groups.left(), Some(v1::Leaving::Now));
}

#[tokio::test]
async fn a_shutdown_whose_deadline_passes_says_what_was_open() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let builder = member(&client).instance("sms-1").commit_interval(Duration::from_secs(60));
    let mut consumer = builder.join().await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    first.ack_later();
    let error = consumer.shutdown(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("1 message(s) not settled"), "{error}");
    assert!(matches!(second.ack().await, Err(AckError::Failed(Error::Closed))));
    let groups = &cluster.lock().groups;
    assert_eq!(groups.stored, BTreeMap::from([(0, 1)]), "what was acknowledged is committed");
    assert_eq!(groups.left(), Some(v1::Leaving::Temporarily));
}

#[tokio::test]
async fn a_consumer_that_is_dropped_commits_and_leaves() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let builder = member(&client).commit_interval(Duration::from_secs(60));
    let mut consumer = builder.join().await.unwrap();
    next(&mut consumer).await.ack_later();
    drop(consumer);
    cluster.until("it left", |it| it.groups.left() == Some(v1::Leaving::Now)).await;
    assert_eq!(cluster.lock().groups.stored, BTreeMap::from([(0, 1)]));
}

#[tokio::test]
async fn a_coordinator_that_never_answers_is_an_error_of_the_join() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    cluster.lock().groups.is_silent = true;
    let joining = member(&client).join();
    tokio::time::pause();
    let error = joining.await.unwrap_err();
    tokio::time::resume();
    assert!(error.is_unavailable(), "{error}");
    assert!(error.to_string().starts_with("join group \"sms\": timed out"), "{error}");
}
