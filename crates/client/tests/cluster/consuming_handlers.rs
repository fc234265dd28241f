//! Handlers called for each message, and batches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use quipu_client::{Client, Error, Message, NewRecord, RunError};

use crate::consuming::member;
use crate::fake::Cluster;
use crate::reading::fill;

async fn publish_keyed(client: &Client, count: u32, keys: u32) {
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    for number in 0..count {
        let key = format!("key-{}", number % keys);
        let record = NewRecord::new("fees", number.to_string()).key(key).partition(0);
        let _unawaited = producer.enqueue(record).await.unwrap();
    }
    producer.flush().await.unwrap();
}

fn number(message: &Message) -> u32 {
    String::from_utf8(message.value.clone().unwrap().to_vec()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn handlers_run_side_by_side_and_keep_the_order_of_each_key() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    publish_keyed(&client, 60, 5).await;
    let mut consumer = member(&client).concurrency(4).join().await.unwrap();
    let handled: RefCell<BTreeMap<Vec<u8>, Vec<u32>>> = RefCell::default();
    let running = RefCell::new((0_u32, 0_u32));
    let until = cluster.until_stored(0, 60);
    let handler = |message: Message| {
        let (handled, running) = (&handled, &running);
        async move {
            {
                let mut running = running.borrow_mut();
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            for _ in 0..number(&message) % 7 {
                tokio::task::yield_now().await;
            }
            let key = message.key.clone().unwrap().to_vec();
            handled.borrow_mut().entry(key).or_default().push(number(&message));
            running.borrow_mut().0 -= 1;
            Ok::<(), Error>(())
        }
    };
    consumer.run_until(handler, until).await.unwrap();
    let handled = handled.into_inner();
    assert_eq!(handled.values().map(Vec::len).sum::<usize>(), 60);
    assert!(handled.values().all(|numbers| numbers.is_sorted()), "{handled:?}");
    assert!(running.into_inner().1 > 1, "lanes run side by side");
}

#[tokio::test]
async fn a_consumer_lives_in_a_task_of_its_own() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let stored = cluster.clone();
    let task = async move {
        let mut consumer = member(&client).join().await.unwrap();
        let handler = |message: Message| async move {
            message.ack_later();
            Ok::<(), Error>(())
        };
        consumer.run_until(handler, stored.until_stored(0, 10)).await.unwrap();
        consumer.seek("fees", 0, quipu_client::Start::Last(1)).await.unwrap();
        consumer.next().await.unwrap().unwrap().ack().await.unwrap();
        consumer.shutdown(Duration::from_secs(5)).await.unwrap();
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task);
    tasks.join_all().await;
    assert!(cluster.lock().groups.left().is_some());
}

#[tokio::test]
async fn a_handler_that_fails_ends_the_run_and_its_message_stays_open() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    let run = consumer.run(|message: Message| async move {
        if message.offset == 3 { Err("the printer is on fire") } else { Ok(()) }
    });
    let error = run.await.unwrap_err();
    assert_eq!(error.to_string(), "handle fees/0@3: the printer is on fire");
    assert!(matches!(error, RunError::Handler { offset: 3, .. }));
    consumer.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(cluster.lock().groups.stored, BTreeMap::from([(0, 3)]));
}

#[tokio::test]
async fn a_batch_is_acknowledged_as_a_whole() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let mut consumer = member(&client).join().await.unwrap();
    let batch = consumer.next_batch(7, Duration::from_secs(10)).await.unwrap();
    assert_eq!(batch.len(), 7);
    batch.ack().await.unwrap();
    assert_eq!(cluster.lock().groups.stored, BTreeMap::from([(0, 7)]));
    let rest = consumer.next_batch(7, Duration::from_millis(700)).await.unwrap();
    assert!(rest.iter().map(|message| message.offset).eq(7..10));
    let nothing = consumer.next_batch(7, Duration::from_millis(1)).await.unwrap();
    assert!(nothing.is_empty());
}
