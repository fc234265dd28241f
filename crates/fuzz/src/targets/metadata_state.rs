//! Rows and snapshots of the metadata, and commands on top.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use quipu_consensus::{AppliedState, SnapshotCursor, StateMachine};
use quipu_kv::{Key, SimTables, Store, WriteBatch};
use quipu_metadata::MetadataStateMachine;

use super::metadata_commands::{Replica, forming, later};
use crate::input::{joined, parts, shared};
use crate::{Seed, Verdict, samples};

/// The input: the root row, a topic's row, the document of a snapshot.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let [root, topic, document] = parts(input);
    rows(root, topic).or(snapshot(document))
}

fn rows(root: &[u8], topic: &[u8]) -> Verdict {
    let tables = SimTables::new(Arc::new(|_| Ok(())));
    let store = Store::simulated(&tables).expect("tables without faults");
    let mut batch = WriteBatch::new();
    batch.put(&Key::Metadata, shared(root));
    if !topic.is_empty() {
        batch.put(&Key::MetadataTopic(samples::topic()), shared(topic));
    }
    store.write(batch).expect("tables without faults");
    goes_on(tables)
}

fn snapshot(document: &[u8]) -> Verdict {
    let tables = SimTables::new(Arc::new(|_| Ok(())));
    let store = Store::simulated(&tables).expect("tables without faults");
    let (mut machine, _) = MetadataStateMachine::open(store).expect("nothing to read");
    let mut manifest = BytesMut::new();
    manifest.put_u64(u64::try_from(document.len()).expect("small"));
    manifest.put_u32(crc32c::crc32c(document));
    let mut receiver = machine.receiver(manifest.freeze()).expect("it is small");
    for chunk in document.chunks(500) {
        receiver.write(shared(chunk)).expect("as announced");
    }
    receiver.finish().expect("as announced");
    if machine.install(AppliedState::default(), receiver).is_err() {
        return Verdict::Refused;
    }
    drop(machine);
    goes_on(tables)
}

/// What can be read goes on.
fn goes_on(tables: SimTables) -> Verdict {
    let Some(mut replica) = Replica::on(tables) else { return Verdict::Refused };
    replica.finish();
    if replica.is_modest() {
        [later(), forming(), later()].concat().iter().for_each(|command| replica.apply(command));
        replica.finish();
    }
    Verdict::Accepted
}

pub(crate) fn seeds() -> Vec<Seed> {
    let tables = SimTables::new(Arc::new(|_| Ok(())));
    let store = Store::simulated(&tables).expect("tables without faults");
    let mut replica = Replica::on(tables).expect("nothing to read");
    let commands = [forming(), later()[..3].to_vec()].concat();
    commands.iter().for_each(|command| replica.apply(command));
    replica.finish();
    let row = |key: &Key| store.get(key).expect("tables without faults").expect("it was written");
    let (root, topic) = (row(&Key::Metadata), row(&Key::MetadataTopic(samples::topic())));
    let source = replica.snapshot();
    let document = source.chunk(&<_>::default(), &mut SnapshotCursor::default());
    let document = document.expect("it needs no disk").expect("it is not empty");
    vec![
        ("ok-rows", joined(&[&root, &topic, &[]])),
        ("ok-snapshot", joined(&[&[], &[], &document])),
        ("without-topic", joined(&[&root, &[], &[]])),
    ]
}
