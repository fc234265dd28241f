use super::*;

fn position(topic_bytes: usize) -> v1::FetchPosition {
    v1::FetchPosition {
        topic_id: Bytes::from(vec![7; topic_bytes]),
        partition: 3,
        offset: 42,
        max_bytes: 0,
    }
}

#[test]
fn a_position_with_a_bad_topic_id_is_named() {
    let refused = positions(&[position(16), position(15)]).expect_err("15 bytes");
    assert_eq!(refused.to_string(), "positions[1].topic_id: a topic id has 16 bytes, 15 came");
}

#[test]
fn too_many_positions_are_refused_with_the_limit() {
    let many = vec![position(16); limits::REQUEST_PARTITIONS_MAX + 1];
    let refused = positions(&many).expect_err("one too many");
    assert_eq!(quipu_broker::OperationError::code(&refused), ErrorCode::RequestTooLarge);
    assert!(positions(&many[1..]).is_ok());
}

#[test]
fn sizes_have_a_default_and_a_bound() {
    assert_eq!(whole_bytes_max(0), BYTES_MAX_DEFAULT);
    assert_eq!(whole_bytes_max(1), 1);
    assert_eq!(whole_bytes_max(u32::MAX), limits::FETCH_RESPONSE_BYTES_MAX);
    let checked = positions(&[position(16)]).expect("valid");
    assert_eq!(checked[0].bytes_max, usize::MAX);
    assert_eq!(checked[0].offset, Offset::new(42));
}

#[test]
fn batches_lie_back_to_back_and_one_alone_is_not_copied() {
    let (first, second) = (Bytes::from_static(b"abc"), Bytes::from_static(b"de"));
    let alone = back_to_back(vec![first.clone()]);
    assert_eq!(alone.as_ptr(), first.as_ptr());
    assert_eq!(back_to_back(vec![first, second]), &b"abcde"[..]);
    assert!(back_to_back(Vec::new()).is_empty());
}
