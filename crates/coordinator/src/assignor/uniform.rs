//! Balanced over all topics, moving as little as possible.
//!
//! Everybody keeps what it had, as far as it still reads the topic. What is free goes to the reader
//! with the least. Then partitions move, one at a time, from the reader with the most to one that
//! has at least two fewer and may read them, until there is no such pair.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{PartitionId, PartitionIndex, TopicId};

use super::Target;
use crate::MemberId;
use crate::member::Member;

/// Members by their place in the order of ids: numbers are quicker to compare than texts.
struct Balance {
    /// Who reads a topic, by number of member.
    readers: BTreeMap<TopicId, Vec<usize>>,
    /// What each has.
    has: Vec<BTreeSet<PartitionId>>,
    /// (how many, who), of everybody.
    loads: BTreeSet<(usize, usize)>,
}

pub(super) fn assign(
    members: &BTreeMap<MemberId, Member>,
    topics: &BTreeMap<TopicId, u32>,
    previous: &Target,
) -> Target {
    let ids: Vec<&MemberId> = members.keys().collect();
    let numbers: BTreeMap<&MemberId, usize> =
        ids.iter().enumerate().map(|(number, id)| (*id, number)).collect();
    let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (number, member) in members.values().enumerate() {
        let read = member.resolved().iter().filter(|topic| topics.contains_key(*topic));
        read.for_each(|topic| readers.entry(*topic).or_default().push(number));
    }
    let count = ids.len();
    let mut balance = Balance {
        readers,
        has: vec![BTreeSet::new(); count],
        loads: (0..count).map(|number| (0, number)).collect(),
    };
    let mut free = Vec::new();
    for (topic, partitions) in topics {
        let Some(readers) = balance.readers.get(topic) else { continue };
        let readers: BTreeSet<usize> = readers.iter().copied().collect();
        for index in 0..*partitions {
            let partition = PartitionId::new(*topic, PartitionIndex::new(index));
            let before = previous.get(&partition).and_then(|member| numbers.get(member));
            match before.filter(|number| readers.contains(number)) {
                Some(number) => balance.give(partition, *number),
                None => free.push(partition),
            }
        }
    }
    for partition in free {
        let least = balance.least_of(partition.topic);
        balance.give(partition, least);
    }
    balance.even_out();
    let owned = balance.has.into_iter().zip(ids);
    owned
        .flat_map(|(partitions, id)| partitions.into_iter().map(move |one| (one, id.clone())))
        .collect()
}

impl Balance {
    fn give(&mut self, partition: PartitionId, to: usize) {
        let load = self.has[to].len();
        self.loads.remove(&(load, to));
        self.has[to].insert(partition);
        self.loads.insert((load + 1, to));
    }

    fn take(&mut self, partition: PartitionId, from: usize) {
        let load = self.has[from].len();
        self.loads.remove(&(load, from));
        self.has[from].remove(&partition);
        self.loads.insert((load - 1, from));
    }

    /// The reader of a topic that has the least. When everybody reads it, that is the first of all.
    fn least_of(&self, topic: TopicId) -> usize {
        let readers = &self.readers[&topic];
        if readers.len() == self.has.len() {
            return self.loads.first().map_or(0, |(_, number)| *number);
        }
        let least = readers.iter().min_by_key(|number| (self.has[**number].len(), **number));
        least.copied().unwrap_or(0)
    }

    fn even_out(&mut self) {
        // From the fullest down. One that cannot give to anybody is done, until somebody with less
        // than it passes one on and so has room again.
        let mut done: BTreeSet<usize> = BTreeSet::new();
        loop {
            let fullest = self.loads.iter().rev().find(|(_, number)| !done.contains(number));
            let Some((load, from)) = fullest.copied() else { return };
            match self.movable(from, load) {
                Some((partition, to)) => {
                    self.take(partition, from);
                    self.give(partition, to);
                    // Whoever got one may pass one on.
                    done.remove(&to);
                    done.retain(|number| self.has[*number].len() <= load);
                }
                None => drop(done.insert(from)),
            }
        }
    }

    /// A partition of a member and whom it should go to, if that makes things more even.
    fn movable(&self, from: usize, load: usize) -> Option<(PartitionId, usize)> {
        let (least, _) = self.loads.first()?;
        if load < least + 2 {
            return None;
        }
        let mut topics: BTreeMap<TopicId, PartitionId> = BTreeMap::new();
        for partition in &self.has[from] {
            topics.insert(partition.topic, *partition);
        }
        let choices = topics.into_values().map(|partition| {
            let to = self.least_of(partition.topic);
            (self.has[to].len(), to, partition)
        });
        let (to_load, to, partition) = choices.min()?;
        (to_load + 2 <= load).then_some((partition, to))
    }
}
