//! Requests on topics, up to the metadata's state machine.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use quipu_metadata::placement::Rule;
use quipu_metadata::{Command, NewTopic, parse_keys, parse_settings};
use quipu_proto::v1;
use quipu_types::TopicName;

use super::metadata_commands::{Replica, later};
use crate::input::shared;
use crate::{Seed, Verdict, samples};

const RULE: Rule = Rule::LeastLoaded;
/// Partitions here: the state machine's own bound is high.
const PARTITIONS_MAX: u32 = 200;

/// The input: which request (a byte), then its message.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some((which, message)) = input.split_first() else { return Verdict::Refused };
    match command(*which, shared(message)) {
        Ok(command) => {
            let mut replica = Replica::formed();
            replica.apply(&later()[0]);
            replica.apply(&command);
            replica.finish();
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!refused.is_empty());
            Verdict::Refused
        }
    }
}

/// The command of a request, checked as its handler and the broker check it.
fn command(which: u8, message: Bytes) -> Result<Command, String> {
    match which % 4 {
        0 => {
            let request = decode::<v1::CreateTopicRequest>(message)?;
            let replication = u8::try_from(request.replication).map_err(words)?;
            let replication = (replication > 0).then_some(replication);
            let partitions = request.partitions.clamp(1, PARTITIONS_MAX);
            let name = TopicName::new(&request.name).map_err(words)?;
            let topic = NewTopic::parse(name, partitions, replication, request.config);
            Ok(Command::CreateTopic { topic: topic.map_err(words)?, rule: RULE })
        }
        1 => {
            let request = decode::<v1::AlterTopicRequest>(message)?;
            let name = TopicName::new(&request.name).map_err(words)?;
            let set = parse_settings(request.set).map_err(words)?;
            let reset = parse_keys(request.reset).map_err(words)?;
            Ok(Command::AlterTopic { name, set, reset })
        }
        2 => {
            let request = decode::<v1::AddPartitionsRequest>(message)?;
            let total = request.total.min(PARTITIONS_MAX);
            TopicName::new(&request.name).map_err(words)?;
            Ok(Command::AddPartitions { topic: samples::topic(), total, rule: RULE })
        }
        _ => {
            let request = decode::<v1::DeleteTopicRequest>(message)?;
            let name = TopicName::new(&request.name).map_err(words)?;
            Ok(Command::DeleteTopic { name, id: None })
        }
    }
}

fn decode<T: Message + Default>(message: Bytes) -> Result<T, String> {
    T::decode(message).map_err(words)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn words(error: impl ToString) -> String {
    error.to_string()
}

/// One setting: more would come in any order.
fn config(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

pub(crate) fn seeds() -> Vec<Seed> {
    let request = |which: u8, message: Vec<u8>| [vec![which], message].concat();
    let name = || "fees".to_owned();
    let create = v1::CreateTopicRequest {
        name: "court.case".to_owned(),
        partitions: 6,
        replication: 3,
        config: config("retention-time", "1d12h"),
        ..v1::CreateTopicRequest::default()
    };
    let alter = v1::AlterTopicRequest {
        name: name(),
        set: config("max-batch-bytes", "512KiB"),
        reset: vec!["min-acks".to_owned(), "segment-time".to_owned()],
        ..v1::AlterTopicRequest::default()
    };
    let add = v1::AddPartitionsRequest { name: name(), total: 12, ..<_>::default() };
    let delete = v1::DeleteTopicRequest { name: name(), ..<_>::default() };
    vec![
        ("ok-create", request(0, create.encode_to_vec())),
        ("ok-alter", request(1, alter.encode_to_vec())),
        ("ok-add", request(2, add.encode_to_vec())),
        ("ok-delete", request(3, delete.encode_to_vec())),
    ]
}
