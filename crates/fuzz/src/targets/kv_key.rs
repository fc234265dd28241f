//! Keys of the tables.

use quipu_kv::Key;

use crate::{Seed, Verdict, samples};

pub(crate) fn run(input: &[u8]) -> Verdict {
    match Key::decode(input) {
        Ok(key) => {
            assert_eq!(key.encode(), input);
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            Verdict::Refused
        }
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let shard = samples::SHARD;
    vec![
        ("ok-version", Key::Version.encode()),
        ("ok-shard", Key::ShardCheckpoint(shard).encode()),
        ("ok-partition", Key::PartitionCheckpoint(shard, samples::partition(2)).encode()),
        ("ok-metadata", Key::Metadata.encode()),
        ("ok-topic", Key::MetadataTopic(samples::topic()).encode()),
        ("ok-group", Key::ConsumerGroup(shard, "sms-service".into()).encode()),
        ("ok-floor", Key::ConsumerGroup(shard, "".into()).encode()),
    ]
}
