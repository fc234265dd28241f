//! The readers of what is stored and sent: a door for fuzz targets.
//!
//! Each reads what it is given and gives it back as this release writes it; `None` where it is
//! refused.

use bytes::Bytes;
use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_types::EntryId;

use crate::type_config::log_id;
use crate::{entry, membership, vote, wire};

/// A vote in the journal.
#[must_use]
pub fn stored_vote(bytes: &Bytes) -> Option<Bytes> {
    vote::decode(bytes).ok().map(|vote| vote::encode(&vote))
}

/// A committed mark in the journal.
#[must_use]
pub fn stored_committed(bytes: &Bytes) -> Option<Bytes> {
    vote::decode_committed(bytes).ok().map(vote::encode_committed)
}

/// An entry in the journal, and on its way to a peer.
#[must_use]
pub fn stored_entry(bytes: Bytes) -> Option<Bytes> {
    let entry = entry::decode(log_id(EntryId::default()), bytes).ok()?;
    // What the state machine gets to see is made of it at every apply.
    let _ = entry::payload(&entry.payload);
    Some(entry::encode(&entry.payload))
}

/// The membership of a checkpoint or a snapshot.
#[must_use]
pub fn stored_membership(bytes: Bytes) -> Option<Bytes> {
    membership::decode_stored(bytes).ok().map(|stored| membership::encode_stored(&stored))
}

/// A message of a peer. Answers are read, and given back as they came.
#[must_use]
pub fn message(message: &proto::Message) -> Option<proto::Message> {
    let body = match message.body.clone()? {
        Body::Hello(hello) => Body::Hello(wire::to_hello(&wire::from_hello(Some(&hello))?)),
        Body::Welcome(identity) => {
            Body::Welcome(wire::to_identity(&wire::from_identity(&identity)?))
        }
        Body::Append(append) => append_request(append)?,
        Body::Appended(answer) => {
            let _ = wire::from_outcome(answer.result.clone()).ok()?;
            Body::Appended(answer)
        }
        Body::Vote(vote) => {
            let (target, request) = (vote.target.unwrap_or_default(), wire::from_vote(&vote)?);
            Body::Vote(wire::to_vote(&request, target, vote.request, vote.is_pre_vote))
        }
        Body::Voted(voted) => {
            Body::Voted(wire::to_voted(&wire::from_voted(&voted)?, voted.request))
        }
        Body::Transfer(transfer) => {
            let leader = transfer.leader.as_ref().map(wire::from_ballot)?;
            let last = transfer.last.as_ref().map(wire::from_id);
            Body::Transfer(proto::Transfer {
                leader: Some(wire::to_ballot(&leader)),
                last: last.as_ref().map(wire::to_id),
                ..transfer
            })
        }
        plain @ (Body::Transferred(_) | Body::Beat(_)) => plain,
    };
    Some(proto::Message { body: Some(body) })
}

fn append_request(append: proto::Append) -> Option<Body> {
    let (session, number) = (append.session, append.number);
    let target = append.target.unwrap_or_default();
    let request = wire::from_append(append).ok()?;
    Some(Body::Append(wire::to_append(&request, target, session, number).0))
}
