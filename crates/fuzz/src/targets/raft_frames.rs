//! Frames between nodes.

use bytes::Bytes;
use prost::Message;
use quipu_consensus::fuzz;
use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;

use super::raft_stored::membership;
use crate::input::shared;
use crate::{Seed, Verdict};

pub(crate) fn run(input: &[u8]) -> Verdict {
    let Ok(frame) = proto::Frame::decode(shared(input)) else { return Verdict::Refused };
    assert!(frame.messages.len() <= input.len(), "a message takes a byte");
    let again = proto::Frame::decode(Bytes::from(frame.encode_to_vec()));
    assert_eq!(again.as_ref(), Ok(&frame));
    let mut verdict = Verdict::Refused;
    for message in &frame.messages {
        if let Some(written) = fuzz::message(message) {
            assert_eq!(fuzz::message(&written).as_ref(), Some(&written));
            verdict = Verdict::Accepted;
        }
    }
    verdict
}

fn id(term: u64, index: u64) -> proto::EntryId {
    proto::EntryId { term, index }
}

fn ballot(is_committed: bool) -> proto::Ballot {
    proto::Ballot { term: 4, replica: 2, is_committed }
}

fn target() -> proto::Target {
    proto::Target { shard: 3, replica: 1 }
}

fn frame(bodies: Vec<Body>) -> Vec<u8> {
    let messages = bodies.into_iter().map(|body| proto::Message { body: Some(body) });
    proto::Frame { messages: messages.collect() }.encode_to_vec()
}

fn append() -> Body {
    let members = [vec![2], membership(&[&[1, 2]], &[(1, 1), (2, 2)])].concat();
    let payloads = [vec![0], b"\x01command".to_vec(), members];
    let entries = payloads.map(|payload| proto::Entry { term: 4, payload: payload.into() });
    Body::Append(proto::Append {
        session: 5,
        number: 6,
        target: Some(target()),
        leader: Some(ballot(true)),
        previous: Some(id(3, 8)),
        committed: Some(id(3, 7)),
        entries: entries.to_vec(),
    })
}

fn answers() -> Vec<Body> {
    let appended = |result| Body::Appended(proto::Appended { session: 5, number: 6, result });
    use proto::appended::Result as Outcome;
    vec![
        appended(Some(Outcome::Matched(proto::Matched { id: Some(id(4, 9)) }))),
        appended(Some(Outcome::Conflict(id(3, 8)))),
        appended(Some(Outcome::Higher(ballot(false)))),
        appended(Some(Outcome::Unavailable("not here".to_owned()))),
        Body::Transferred(proto::Transferred { request: 1, refused: "busy".to_owned() }),
    ]
}

fn elections() -> Vec<Body> {
    let vote = proto::Vote {
        request: 1,
        target: Some(target()),
        candidate: Some(ballot(false)),
        last: Some(id(4, 9)),
        is_pre_vote: true,
        is_transfer: false,
    };
    let voted = proto::Voted {
        request: 1,
        vote: Some(ballot(false)),
        last: None,
        is_granted: true,
        unavailable: String::new(),
    };
    let transfer = proto::Transfer {
        request: 2,
        target: Some(target()),
        leader: Some(ballot(true)),
        successor: 2,
        last: Some(id(4, 9)),
    };
    vec![Body::Vote(vote), Body::Voted(voted), Body::Transfer(transfer)]
}

fn greetings() -> Vec<Body> {
    let sixteen = |of: u8| Bytes::from(vec![of; 16]);
    let identity = proto::Identity {
        cluster: sixteen(1),
        node: 2,
        directory: sixteen(3),
        incarnation: 4,
        starts: vec![sixteen(5), sixteen(6)],
        starts_since: 3,
    };
    let hello = proto::Hello { version: 1, sender: Some(identity.clone()), receiver: 1 };
    let leads = vec![proto::LeaderHint { shard: 3, term: 4 }];
    let beat = Body::Beat(proto::Beat { lost: vec![3], leads, is_short_of_disk: true });
    vec![Body::Hello(hello), Body::Welcome(identity), beat]
}

pub(crate) fn seeds() -> Vec<Seed> {
    vec![
        ("ok-append", frame(vec![append()])),
        ("ok-answers", frame(answers())),
        ("ok-elections", frame(elections())),
        ("ok-greetings", frame(greetings())),
        ("ok-many", frame([vec![append()], elections(), answers()].concat())),
    ]
}
