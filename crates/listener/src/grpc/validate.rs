//! Checks shared by requests, each with the path of the field it doubts.

use quipu_proto::v1;
use quipu_types::{Acks, PartitionIndex, TopicId, limits};

use super::refusal::Refusal;

/// A topic id of exactly 16 bytes.
pub(crate) fn topic_id(bytes: &[u8], field: impl FnOnce() -> String) -> Result<TopicId, Refusal> {
    TopicId::from_slice(bytes).ok_or_else(|| {
        Refusal::malformed(field(), format!("a topic id has 16 bytes, {} came", bytes.len()))
    })
}

/// No more items than one request may name.
pub(crate) fn count(items: usize, field: &str) -> Result<(), Refusal> {
    at_most(items, limits::REQUEST_PARTITIONS_MAX, field)
}

/// No more than a limit.
pub(crate) fn at_most(actual: usize, limit: usize, field: &str) -> Result<(), Refusal> {
    if actual <= limit {
        Ok(())
    } else {
        Err(Refusal::TooLarge { field: field.to_owned(), actual, limit })
    }
}

/// A known acknowledgement level; unset means quorum.
pub(crate) fn acks(found: i32) -> Result<Acks, Refusal> {
    match v1::Acks::try_from(found) {
        Ok(v1::Acks::Unspecified | v1::Acks::Quorum) => Ok(Acks::Quorum),
        Ok(v1::Acks::Leader) => Ok(Acks::Leader),
        Ok(v1::Acks::None) => Ok(Acks::None),
        Err(_) => Err(Refusal::Acks { found }),
    }
}

/// An index; whether the topic has it is the broker's question.
pub(crate) const fn partition(index: u32) -> PartitionIndex {
    PartitionIndex::new(index)
}

/// A number of bytes on this machine.
pub(crate) fn bytes(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_of_another_length_is_refused_with_its_path() {
        for length in [0, 1, 15, 17, 32] {
            let refused = topic_id(&vec![0; length], || "batches[3].topic_id".to_owned());
            let refused = refused.expect_err("not 16 bytes");
            assert_eq!(
                refused.to_string(),
                format!("batches[3].topic_id: a topic id has 16 bytes, {length} came")
            );
        }
        assert!(topic_id(&[7; 16], || unreachable!("it is valid")).is_ok());
    }

    #[test]
    fn levels_nobody_assigned_are_refused() {
        for found in [-2, -1, 4, i32::MAX, i32::MIN] {
            assert_eq!(acks(found), Err(Refusal::Acks { found }));
        }
        assert_eq!(acks(0), Ok(Acks::Quorum));
        assert_eq!(acks(1), Ok(Acks::None));
        assert_eq!(acks(2), Ok(Acks::Leader));
        assert_eq!(acks(3), Ok(Acks::Quorum));
    }

    #[test]
    fn a_request_names_only_so_many_partitions() {
        let limit = limits::REQUEST_PARTITIONS_MAX;
        assert_eq!(count(limit, "positions"), Ok(()));
        let refused = count(limit + 1, "positions").expect_err("one too many");
        assert_eq!(
            refused.to_string(),
            format!("positions: {} is above the limit of {limit}", limit + 1)
        );
    }
}
