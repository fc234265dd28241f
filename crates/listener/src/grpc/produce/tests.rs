use quipu_broker::OperationError;
use quipu_types::TimestampMs;
use quipu_types::record::{BatchBuilder, Record};

use super::*;

fn records() -> Bytes {
    let mut builder = BatchBuilder::new(TimestampMs::new(1));
    let record = Record {
        timestamp: TimestampMs::new(1),
        key: None,
        value: Some(Bytes::from_static(b"value")),
        headers: Vec::new(),
    };
    builder.push(&record).expect("it is small");
    builder.finish_plain().bytes().clone()
}

fn batch(topic_bytes: usize, records: Bytes) -> v1::ProduceBatch {
    v1::ProduceBatch { topic_id: Bytes::from(vec![7; topic_bytes]), partition: 2, records }
}

#[test]
fn a_batch_with_a_bad_topic_id_refuses_the_request_with_its_path() {
    let refused = check(vec![batch(16, records()), batch(0, records())]).expect_err("no id");
    assert_eq!(refused.code(), ErrorCode::Malformed);
    assert_eq!(refused.fields(), [("field", "batches[1].topic_id".to_owned())]);
}

#[test]
fn a_damaged_batch_is_refused_alone() {
    let damaged = {
        let mut bytes = records().to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        Bytes::from(bytes)
    };
    let batches = vec![batch(16, records()), batch(16, damaged), batch(16, records())];
    let (slots, entries) = check(batches).expect("the request is fine");
    assert_eq!(entries.len(), 2);
    let codes: Vec<_> =
        slots.iter().map(|slot| slot.refused.as_ref().map(OperationError::code)).collect();
    assert_eq!(codes, [None, Some(ErrorCode::CorruptBatch), None]);
}

#[test]
fn a_request_above_the_limit_is_refused_with_limit_and_actual() {
    let half = Bytes::from(vec![0; limits::PRODUCE_REQUEST_BYTES_MAX / 2]);
    assert!(check(vec![batch(16, half.clone()), batch(16, half.clone())]).is_ok());
    let more = batch(16, Bytes::from_static(b"x"));
    let refused = check(vec![batch(16, half.clone()), batch(16, half), more]).expect_err("above");
    let limit = limits::PRODUCE_REQUEST_BYTES_MAX;
    assert_eq!(
        refused,
        Refusal::TooLarge { field: "batches.records".to_owned(), actual: limit + 1, limit }
    );
}

#[test]
fn a_wait_has_a_default_and_a_bound() {
    assert_eq!(timeout(0), TIMEOUT_DEFAULT);
    assert_eq!(timeout(5), Duration::from_millis(5));
    let longest = u64::from(limits::PRODUCE_TIMEOUT_MS_MAX);
    assert_eq!(timeout(u32::MAX), Duration::from_millis(longest));
}

#[tokio::test]
async fn results_stand_in_the_order_of_the_request() {
    let damaged = Bytes::from_static(b"not a batch");
    let (slots, _) = check(vec![batch(16, damaged.clone()), batch(16, damaged)]).expect("fine");
    let memory = super::super::memory::RequestMemory::new(0);
    let taken = Taken { slots, futures: Vec::new(), _permit: memory.take(1).await };
    let results = taken.settle().await;
    let names: Vec<_> =
        results.iter().map(|result| result.error.clone().map(|error| error.name)).collect();
    assert_eq!(names, [Some("CORRUPT_BATCH".to_owned()), Some("CORRUPT_BATCH".to_owned())]);
    assert!(results.iter().all(|result| result.base_offset.is_none()));
}
