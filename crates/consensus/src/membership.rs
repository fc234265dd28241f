//! The bytes of a membership. Little endian.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | format version: 1 |
//! | 4 | number of voter sets: 1, or 2 while members change |
//! | per set: 4 + 8 n | number of voters, their replica ids |
//! | 4 + 16 n | number of replicas with a place: replica id, node id each |
//!
//! A *stored* membership has the entry that made it in front: 1 byte (0 none, 1 some), then term
//! and index, 8 bytes each, if some.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::{EntryId, LogIndex, NodeId, Term};

use crate::entry::Undecodable;
use crate::type_config::{Membership, Place, StoredMembership, entry_id, log_id};

/// Persisted; never reuse.
const VERSION: u8 = 1;

/// Appends a membership.
pub(crate) fn encode(members: &Membership, out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u32_le(count(members.get_joint_config().len()));
    for set in members.get_joint_config() {
        out.put_u32_le(count(set.len()));
        set.iter().for_each(|replica| out.put_u64_le(*replica));
    }
    out.put_u32_le(count(members.nodes().count()));
    for (replica, place) in members.nodes() {
        out.put_u64_le(*replica);
        out.put_u64_le(place.node.get());
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a group has a handful of members")
}

/// Reads a membership to its end.
pub(crate) fn decode(from: &mut Bytes) -> Result<Membership, Undecodable> {
    let whole = from.len();
    let why = "membership cut short or of an unknown version";
    read(from).ok_or_else(|| Undecodable::new(whole, why))
}

fn read(from: &mut Bytes) -> Option<Membership> {
    if from.try_get_u8().ok()? != VERSION {
        return None;
    }
    let mut sets = Vec::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let mut set = BTreeSet::new();
        for _ in 0..from.try_get_u32_le().ok()? {
            set.insert(from.try_get_u64_le().ok()?);
        }
        sets.push(set);
    }
    let mut places = BTreeMap::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let replica = from.try_get_u64_le().ok()?;
        places.insert(replica, Place { node: NodeId::new(from.try_get_u64_le().ok()?) });
    }
    if from.has_remaining() {
        return None;
    }
    Membership::new(sets, places).ok()
}

/// A membership with the entry that made it; nothing at all for the state before the first.
pub(crate) fn encode_stored(stored: &StoredMembership) -> Bytes {
    let mut out = BytesMut::new();
    match stored.log_id() {
        None => out.put_u8(0),
        Some(id) => {
            out.put_u8(1);
            out.put_u64_le(entry_id(id).term.get());
            out.put_u64_le(entry_id(id).index.get());
        }
    }
    encode(stored.membership(), &mut out);
    out.freeze()
}

/// The reverse of [`encode_stored`]; no bytes are the state before the first membership.
pub(crate) fn decode_stored(mut from: Bytes) -> Result<StoredMembership, Undecodable> {
    if from.is_empty() {
        return Ok(StoredMembership::default());
    }
    let cut = Undecodable::new(from.len(), "stored membership cut short");
    let id = match from.get_u8() {
        0 => None,
        _ => {
            let term = from.try_get_u64_le().map_err(|_| cut.clone())?;
            let index = from.try_get_u64_le().map_err(|_| cut)?;
            Some(log_id(EntryId::new(Term::new(term), LogIndex::new(index))))
        }
    };
    if id.is_none() {
        // Before the first membership there are no voters, which a membership read back refuses.
        return Ok(decode(&mut from).map_or_else(
            |_| StoredMembership::default(),
            |members| StoredMembership::new(None, members),
        ));
    }
    Ok(StoredMembership::new(id, decode(&mut from)?))
}
