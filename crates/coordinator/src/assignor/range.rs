//! Contiguous blocks of each topic, members in order.

use std::collections::BTreeMap;

use quipu_types::{PartitionId, PartitionIndex, TopicId};

use super::Target;
use crate::MemberId;
use crate::member::Member;

pub(super) fn assign(
    members: &BTreeMap<MemberId, Member>,
    topics: &BTreeMap<TopicId, u32>,
) -> Target {
    let mut target = Target::new();
    for (topic, count) in topics {
        let mut readers: Vec<&Member> =
            members.values().filter(|member| member.resolved().contains(topic)).collect();
        readers.sort_by_key(|member| (member.place().to_owned(), member.id().clone()));
        let Ok(shares) = u32::try_from(readers.len()) else { continue };
        if shares == 0 {
            continue;
        }
        let (share, rest) = (count / shares, count % shares);
        let mut next = 0;
        for (place, reader) in (0..).zip(readers) {
            let end = next + share + u32::from(place < rest);
            for index in next..end {
                let partition = PartitionId::new(*topic, PartitionIndex::new(index));
                target.insert(partition, reader.id().clone());
            }
            next = end;
        }
    }
    target
}
