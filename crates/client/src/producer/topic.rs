//! A topic as a producer sees it: its buffers, and who gets the next record without a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quipu_types::{ErrorCode, TopicId};

use super::buffer::Buffer;
use crate::cluster_view::Topic;
use crate::metrics::Publishing;
use crate::partitioner::partition_for_key;
use crate::record::NewRecord;
use crate::{Error, Result, backoff};

/// What the buffers of a topic share; it outlives changes of the topic's settings.
#[derive(Debug)]
pub(crate) struct TopicInfo {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) metrics: Publishing,
    partitions: AtomicU32,
    /// Records without a key go here until its batch is sent.
    sticky: AtomicU32,
}

/// One topic of one producer.
#[derive(Debug)]
pub(crate) struct TopicState {
    known: Arc<Topic>,
    info: Arc<TopicInfo>,
    buffers: Vec<Arc<Buffer>>,
}

impl TopicState {
    pub(crate) fn new(known: Arc<Topic>, service: &str) -> Self {
        let partitions = known.partitions();
        let info = Arc::new(TopicInfo {
            name: known.name.clone(),
            id: known.id,
            metrics: Publishing::new(service, &known.name),
            partitions: AtomicU32::new(partitions),
            sticky: AtomicU32::new(random_below(partitions.max(1))),
        });
        let buffers = (0..partitions).map(|index| Arc::new(Buffer::new(info.clone(), index)));
        Self { known, buffers: buffers.collect(), info }
    }

    /// The same topic after a change of its settings or with more partitions: records in buffers
    /// stay where they are. A partition has one buffer for ever, because the sender takes what is
    /// in it in order; so knowledge that is older and names fewer partitions takes none away.
    pub(crate) fn renewed(&self, known: Arc<Topic>) -> Self {
        let mut buffers = self.buffers.clone();
        let added = self.partitions()..known.partitions();
        buffers.extend(added.map(|index| Arc::new(Buffer::new(self.info.clone(), index))));
        let renewed = Self { known, info: self.info.clone(), buffers };
        renewed.info.partitions.store(renewed.partitions(), Ordering::Relaxed);
        renewed
    }

    pub(crate) fn known(&self) -> &Arc<Topic> {
        &self.known
    }

    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.buffers.len()).expect("bounded by TOPIC_PARTITIONS_MAX")
    }

    /// What a batch of this topic may hold.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        self.known.batch_bytes_max
    }

    /// The buffer a record belongs to: the partition it names, else by its key, else the sticky.
    pub(crate) fn buffer_for(&self, record: &NewRecord) -> Result<&Arc<Buffer>> {
        let partitions = self.partitions();
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) if partitions > 0 => partition_for_key(key, partitions),
            (None, _) => self.info.sticky.load(Ordering::Relaxed),
        };
        let index = usize::try_from(partition).expect("u32 fits in usize");
        self.buffers.get(index).ok_or_else(|| {
            let name = &self.info.name;
            let text = format!("topic {name:?} has {partitions} partition(s), no {partition}");
            Error::local(ErrorCode::UnknownPartition, text)
        })
    }
}

impl TopicInfo {
    /// The batch of `partition` goes out: records without a key turn to another one.
    pub(crate) fn batch_leaves(&self, partition: u32) {
        let partitions = self.partitions.load(Ordering::Relaxed);
        if partitions < 2 {
            return;
        }
        // Any of the others, each as likely.
        let step = 1 + random_below(partitions - 1);
        let next = (u64::from(partition) + u64::from(step)) % u64::from(partitions);
        let next = u32::try_from(next).expect("below the number of partitions");
        let relaxed = Ordering::Relaxed;
        // Failure means that another batch was the sticky one.
        let _ = self.sticky.compare_exchange(partition, next, relaxed, relaxed);
    }
}

fn random_below(bound: u32) -> u32 {
    u32::try_from(backoff::random() % u64::from(bound)).expect("below a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(partitions: usize) -> TopicState {
        let topic = Topic {
            name: "fees".into(),
            id: TopicId::from_bytes([1; 16]),
            leaders: vec![None; partitions],
            batch_bytes_max: 1 << 20,
        };
        TopicState::new(Arc::new(topic), "test")
    }

    fn chosen(state: &TopicState, record: &NewRecord) -> u32 {
        state.buffer_for(record).expect("a buffer").partition
    }

    #[test]
    fn records_without_a_key_stay_until_their_batch_leaves() {
        let state = state(4);
        let record = NewRecord::new("fees", "x");
        let first = chosen(&state, &record);
        assert_eq!(chosen(&state, &record), first);
        state.info.batch_leaves((first + 1) % 4);
        assert_eq!(chosen(&state, &record), first, "another batch left");
        state.info.batch_leaves(first);
        assert_ne!(chosen(&state, &record), first);
    }

    #[test]
    fn keys_and_named_partitions_are_respected() {
        let state = state(4);
        let keyed = NewRecord::new("fees", "x").key("T-1");
        assert_eq!(chosen(&state, &keyed), partition_for_key(b"T-1", 4));
        assert_eq!(chosen(&state, &keyed.partition(3)), 3);
        let refused = state.buffer_for(&NewRecord::new("fees", "x").partition(4)).unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::UnknownPartition));
    }

    #[test]
    fn more_partitions_keep_the_buffers_there_are() {
        let state = state(1);
        let record = NewRecord::new("fees", "x").partition(0);
        let before = state.buffer_for(&record).unwrap().clone();
        let known = Topic { leaders: vec![None; 3], ..Topic::clone(&state.known) };
        let renewed = state.renewed(Arc::new(known));
        assert!(Arc::ptr_eq(&before, renewed.buffer_for(&record).unwrap()));
        assert_eq!(chosen(&renewed, &record.partition(2)), 2);
    }

    #[test]
    fn keys_follow_the_new_number_and_older_knowledge_takes_no_buffer_away() {
        let state = state(2);
        let known = |count| Topic { leaders: vec![None; count], ..Topic::clone(&state.known) };
        let grown = state.renewed(Arc::new(known(9)));
        let record = NewRecord::new("fees", "x").partition(7);
        let buffer = grown.buffer_for(&record).unwrap().clone();
        let older = grown.renewed(Arc::new(known(2)));
        assert!(Arc::ptr_eq(&buffer, older.buffer_for(&record).unwrap()));
        let keyed = NewRecord::new("fees", "x").key("T-1");
        for state in [&grown, &older] {
            assert_eq!(chosen(state, &keyed), partition_for_key(b"T-1", 9));
        }
    }
}
