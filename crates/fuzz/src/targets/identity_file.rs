//! The `VERSION` file of a data directory.

use std::path::Path;
use std::sync::Arc;

use quipu_disk::FaultyDisk;
use quipu_metadata::{Founder, Identity};
use quipu_types::{ClusterId, DirectoryId, NodeId};

use crate::input::{disk, file_bytes, put_file};
use crate::{Seed, Verdict, reseal};

const NODE: NodeId = NodeId::new(1);

pub(crate) fn run(input: &[u8]) -> Verdict {
    let resealed = reseal::last_line(input);
    let verdict = check(input);
    if resealed == input { verdict } else { verdict.or(check(&resealed)) }
}

fn dir() -> &'static Path {
    Path::new("/data")
}

fn open(disk: &FaultyDisk) -> Option<Identity> {
    Identity::open(Arc::new(disk.clone()), dir(), NODE, None).ok()
}

fn check(bytes: &[u8]) -> Verdict {
    let disk = disk();
    put_file(&disk, &dir().join("journal/1"), b"votes");
    put_file(&disk, &dir().join("VERSION"), bytes);
    let Some(identity) = open(&disk) else {
        assert_eq!(file_bytes(&disk, &dir().join("VERSION")), bytes, "a refusal changes nothing");
        return Verdict::Refused;
    };
    let (first, founders) = (identity.peer_identity(), identity.founders());
    drop(identity);
    let identity = open(&disk).expect("it was opened before");
    let second = identity.peer_identity();
    assert_eq!((first.cluster, first.node), (second.cluster, second.node));
    assert_eq!(first.directory, second.directory);
    assert_eq!(first.incarnation.get() + 1, second.incarnation.get(), "each start is counted");
    assert_eq!(identity.founders(), founders);
    Verdict::Accepted
}

pub(crate) fn seeds() -> Vec<Seed> {
    let disk = disk();
    let identity = open(&disk).expect("an empty directory");
    let written = || file_bytes(&disk, &dir().join("VERSION"));
    let fresh = written();
    let founder = |node: u8| Founder {
        node: NodeId::new(node.into()),
        directory: DirectoryId::from_bytes([node; 16]),
    };
    let founders = [1, 2, 3].map(founder).to_vec();
    identity.adopt_cluster(ClusterId::from_bytes([9; 16]), founders).expect("it has none yet");
    vec![("ok-fresh", fresh), ("ok-member", written())]
}
