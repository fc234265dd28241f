//! Publishing when servers fail in all the ways they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quipu_client::{
    Acks, Codec, Effect, Error, ErrorCode, NewRecord, Producer, ProducerBuilder, TryEnqueueError,
};
use quipu_proto::v1;

use crate::fake::{Act, Cluster, soon};

const NOW: Duration = Duration::ZERO;

/// One record a batch, so that batches are what tests count.
fn single(builder: ProducerBuilder) -> Producer {
    builder.linger(NOW).batch_bytes(1).build().unwrap()
}

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn publish_all(producer: &Producer, values: &[String]) -> Vec<Result<u64, Error>> {
    let mut deliveries = Vec::new();
    for value in values {
        let record = NewRecord::new("fees", value.clone()).partition(0);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.map(|receipt| receipt.offset.expect("acks quorum")));
    }
    offsets
}

fn all_ok(results: Vec<Result<u64, Error>>) -> Vec<u64> {
    results.into_iter().map(|result| result.unwrap()).collect()
}

#[tokio::test]
async fn events_are_stored_in_order_and_receipts_say_where() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer().build().unwrap();
    let values = numbered(0..500);
    let offsets = all_ok(publish_all(&producer, &values).await);
    assert_eq!(offsets, (0..500).collect::<Vec<u64>>());
    assert_eq!(cluster.values(0), values);
    assert!(cluster.lock().attempts.len() < 100, "events share batches");
}

#[tokio::test]
async fn a_failed_batch_in_the_middle_is_sent_again_without_reordering() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|attempt| match attempt.number {
        1 => Act::Refuse(ErrorCode::LeadershipLost, v1::Effect::Unknown, soon()),
        6 => Act::Refuse(ErrorCode::Overloaded, v1::Effect::None, soon()),
        _ => Act::Normal,
    });
    let producer = single(cluster.client().await.producer());
    let values = numbered(0..20);
    let offsets = all_ok(publish_all(&producer, &values).await);
    assert_eq!(offsets, (0..20).collect::<Vec<u64>>());
    assert_eq!(cluster.values(0), values);
    assert!(cluster.lock().attempts.len() > 20);
}

#[tokio::test]
async fn at_most_five_batches_of_a_partition_are_on_their_way() {
    let cluster = Cluster::start(1, 2).await;
    cluster.script(|_| Act::Hold);
    let producer = single(cluster.client().await.producer());
    let mut deliveries = Vec::new();
    for number in 0..20 {
        let record = NewRecord::new("fees", number.to_string()).partition(0);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    cluster.until("a full window", |state| state.open == 5).await;
    cluster.release(100);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(cluster.lock().most_open, 5);
    assert_eq!(cluster.values(0), numbered(0..20));
}

#[tokio::test]
async fn a_redirect_is_followed_to_the_leader() {
    let cluster = Cluster::start(2, 1).await;
    let client = cluster.client().await;
    let producer = single(client.producer());
    producer.publish(NewRecord::new("fees", "0")).await.unwrap();
    {
        let mut state = cluster.lock();
        let topic = state.topics.get_mut("fees").unwrap();
        topic.rumour = Some(vec![Some(1)]);
        topic.leaders = vec![Some(2)];
    }
    let receipt = producer.publish(NewRecord::new("fees", "1")).await.unwrap();
    assert_eq!(receipt.offset, Some(1));
    let nodes: Vec<u64> = cluster.lock().attempts.iter().map(|attempt| attempt.node).collect();
    assert_eq!(nodes, [1, 1, 2], "once to the old leader, then to the one it named");
}

#[tokio::test]
async fn a_leader_that_is_not_known_yet_is_waited_for() {
    let cluster = Cluster::start(1, 1).await;
    cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![None];
    let producer = single(cluster.client().await.producer());
    let delivery = producer.enqueue(NewRecord::new("fees", "0")).await.unwrap();
    cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![Some(1)];
    assert_eq!(delivery.await.unwrap().offset, Some(0));
}

#[tokio::test]
async fn a_stream_that_breaks_after_storing_does_not_store_twice() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|attempt| match attempt.number {
        2 => Act::StoreAndBreak,
        5 => Act::Break,
        _ => Act::Normal,
    });
    let producer = single(cluster.client().await.producer());
    let values = numbered(0..12);
    let offsets = all_ok(publish_all(&producer, &values).await);
    assert_eq!(offsets, (0..12).collect::<Vec<u64>>(), "a retry gets the first offset");
    assert_eq!(cluster.values(0), values);
}

#[tokio::test]
async fn a_delivery_timeout_says_what_how_often_and_why_and_later_events_get_through() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|_| Act::Refuse(ErrorCode::NotEnoughReplicas, v1::Effect::None, soon()));
    let client = cluster.client().await;
    let producer = single(client.producer().delivery_timeout(Duration::from_millis(700)));
    let error = producer.publish(NewRecord::new("fees", "0")).await.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "no attempt left it open");
    assert_eq!(error.code(), Some(ErrorCode::NotEnoughReplicas));
    let text = error.to_string();
    assert!(text.starts_with("deliver to fees/0: timed out after 0.7 s and "), "{text}");
    assert!(text.contains("last cause: QP3001"), "{text}");

    cluster.script(|_| Act::Normal);
    producer.publish(NewRecord::new("fees", "1")).await.unwrap();
    assert_eq!(cluster.values(0), ["1"], "the hole did not block");
}

#[tokio::test]
async fn an_event_without_an_answer_is_in_doubt_and_the_next_gets_a_new_epoch() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|attempt| if attempt.number == 0 { Act::Silence } else { Act::Normal });
    let client = cluster.client().await;
    let producer = single(client.producer().delivery_timeout(Duration::from_millis(500)));
    let error = producer.publish(NewRecord::new("fees", "0")).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(matches!(error, Error::Timeout(_)), "{error}");

    let receipt = producer.publish(NewRecord::new("fees", "1")).await.unwrap();
    assert_eq!(receipt.offset, Some(0));
    let stamps: Vec<(i64, i16, i32)> = cluster
        .lock()
        .attempts
        .iter()
        .map(|it| (it.producer_id, it.producer_epoch, it.sequence))
        .collect();
    // No gap is left to block what follows, and what comes late is fenced.
    assert_eq!(stamps, [(101, 0, 0), (101, 1, 0)]);
}

#[tokio::test]
async fn a_silent_leader_is_left_once_another_leads() {
    let cluster = Cluster::start(2, 1).await;
    cluster.script(|attempt| if attempt.node == 1 { Act::Silence } else { Act::Normal });
    let producer = single(cluster.client().await.producer());
    let delivery = producer.enqueue(NewRecord::new("fees", "0")).await.unwrap();
    cluster.until("the first attempt", |state| state.attempts.len() == 1).await;
    cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![Some(2)];
    let receipt = tokio::time::timeout(Duration::from_secs(10), delivery).await;
    assert_eq!(receipt.expect("before the stream times out").unwrap().offset, Some(0));
}

#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|attempt| match attempt.number {
        1 => Act::Refuse(ErrorCode::InvalidTimestamp, v1::Effect::None, None),
        _ => Act::Normal,
    });
    let producer = single(cluster.client().await.producer());
    let results = publish_all(&producer, &numbered(0..6)).await;
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidTimestamp));
    assert_eq!(error.effect(), Effect::None);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert_eq!(cluster.values(0), ["0", "2", "3", "4", "5"]);
    let epochs: BTreeMap<(i64, i16), i32> = cluster
        .lock()
        .attempts
        .iter()
        .map(|it| ((it.producer_id, it.producer_epoch), it.sequence))
        .collect();
    assert_eq!(epochs.len(), 2, "what stood behind the hole went on under a new epoch");
}

#[tokio::test]
async fn a_topic_that_was_deleted_is_a_typed_error() {
    let cluster = Cluster::start(1, 1).await;
    let producer = single(cluster.client().await.producer());
    producer.publish(NewRecord::new("fees", "0")).await.unwrap();
    cluster.lock().topics.clear();
    let results = publish_all(&producer, &numbered(1..9)).await;
    for result in results {
        assert_eq!(result.unwrap_err().code(), Some(ErrorCode::UnknownTopicId));
    }
    let error = producer.publish(NewRecord::new("fees", "2")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    assert!(error.is_not_found());
}

#[tokio::test]
async fn an_event_above_the_limit_is_refused_before_it_is_sent() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let error = client.publish(NewRecord::new("fees", vec![0; 1 << 20])).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::RecordTooLarge));
    let text = error.to_string();
    assert!(text.contains("above the limit of 1048576"), "{text}");
    assert!(text.contains("store the blob elsewhere and send a reference"), "{text}");
    assert!(cluster.lock().attempts.is_empty());
}

#[tokio::test]
async fn a_full_buffer_gives_the_record_back_or_waits() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|_| Act::Hold);
    let client = cluster.client().await;
    let producer = single(client.producer().event_bytes_max(2_000).buffer_bytes(3_000));
    let record = NewRecord::new("fees", vec![b'x'; 1_500]);
    assert!(matches!(
        producer.try_enqueue(record.clone()),
        Err(TryEnqueueError::NotPrepared(back)) if *back == record
    ));
    assert_eq!(producer.prepare("fees").await.unwrap(), 1);
    let first = producer.try_enqueue(record.clone()).unwrap();
    let full = producer.try_enqueue(record.clone()).unwrap_err();
    assert!(matches!(full, TryEnqueueError::Full(back) if *back == record));

    let waits = producer.enqueue(record);
    tokio::pin!(waits);
    assert!(futures::poll!(waits.as_mut()).is_pending());
    cluster.release(2);
    first.await.unwrap();
    waits.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn flush_does_not_linger_and_close_delivers() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    let delivery = producer.enqueue(NewRecord::new("fees", "0")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    let delivery = producer.enqueue(NewRecord::new("fees", "1")).await.unwrap();
    producer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(1));
    let refused = producer.publish(NewRecord::new("fees", "2")).await.unwrap_err();
    assert!(matches!(refused, Error::Closed), "{refused}");
}

#[tokio::test]
async fn close_gives_up_at_its_deadline() {
    let cluster = Cluster::start(1, 1).await;
    cluster.script(|_| Act::Silence);
    let producer = single(cluster.client().await.producer());
    let sent = producer.enqueue(NewRecord::new("fees", "0")).await.unwrap();
    cluster.until("the attempt", |state| state.attempts.len() == 1).await;
    let error = producer.close(Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("deliver to fees/0 before closing"), "{error}");
    assert_eq!(sent.await.unwrap_err().effect(), Effect::Unknown);
}

#[tokio::test]
async fn dropping_the_last_handle_still_delivers() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    let delivery = producer.enqueue(NewRecord::new("fees", "0")).await.unwrap();
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, Some(0));
}

#[tokio::test]
async fn keys_stay_together_and_records_without_a_key_are_spread() {
    let cluster = Cluster::start(3, 6).await;
    let producer = single(cluster.client().await.producer());
    let mut partitions = BTreeMap::new();
    for number in 0..60 {
        let key = format!("T-{}", number % 7);
        let record = NewRecord::new("fees", number.to_string()).key(key.clone());
        let receipt = producer.publish(record).await.unwrap();
        assert_eq!(receipt.partition, quipu_client::partition_for_key(key.as_bytes(), 6));
    }
    for number in 0..60 {
        let record = NewRecord::new("fees", number.to_string());
        let receipt = producer.publish(record).await.unwrap();
        *partitions.entry(receipt.partition).or_insert(0) += 1;
    }
    assert!(partitions.len() >= 4, "{partitions:?}");
}

#[tokio::test]
async fn batches_of_several_partitions_share_a_request_and_compression_is_kept() {
    let cluster = Cluster::start(1, 8).await;
    let client = cluster.client().await;
    let builder = client.producer().compression(Codec::Zstd).linger(Duration::from_millis(50));
    let producer = builder.build().unwrap();
    let mut deliveries = Vec::new();
    for partition in 0..8 {
        for _ in 0..10 {
            let record = NewRecord::new("fees", "a".repeat(200)).partition(partition);
            deliveries.push(producer.enqueue(record).await.unwrap());
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(cluster.values(5).len(), 10);
    let state = cluster.lock();
    let stored: usize = state.topics["fees"].logs[5].batches.iter().map(|it| it.1.len()).sum();
    assert!(stored < 400, "{stored} bytes are not compressed");
    assert_eq!(state.attempts.iter().map(|it| it.records).sum::<u32>(), 80);
}

#[tokio::test]
async fn weaker_acks_carry_no_producer_id() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let refused = client.producer().acks(Acks::Leader).idempotent(true).build().unwrap_err();
    assert!(refused.to_string().contains("needs acks quorum"), "{refused}");
    let producer = client.producer().acks(Acks::Leader).build().unwrap();
    producer.publish(NewRecord::new("fees", "0")).await.unwrap();
    assert_eq!(cluster.lock().attempts[0].producer_id, -1);
}

#[tokio::test]
async fn order_holds_under_many_random_failures() {
    let cluster = Cluster::start(2, 2).await;
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let leaders = cluster.clone();
    cluster.script(move |attempt| {
        seen.fetch_add(1, Ordering::Relaxed);
        // A fixed pattern that meets every kind of failure, then peace.
        match attempt.number {
            number if number > 400 => Act::Normal,
            number => match (number * 2_654_435_761) % 11 {
                0 => Act::Break,
                1 => Act::StoreAndBreak,
                2 => Act::Refuse(ErrorCode::LeadershipLost, v1::Effect::Unknown, soon()),
                3 => Act::Refuse(ErrorCode::PartitionNotReady, v1::Effect::None, soon()),
                _ => Act::Normal,
            },
        }
    });
    let producer = single(leaders.client().await.producer());
    let values = numbered(0..150);
    let offsets = all_ok(publish_all(&producer, &values).await);
    assert_eq!(offsets, (0..150).collect::<Vec<u64>>());
    assert_eq!(cluster.values(0), values);
    assert!(count.load(Ordering::Relaxed) > 200, "failures happened");
}
