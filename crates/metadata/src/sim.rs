//! Metadata of a cluster that nobody had to form: the door for simulators.

use std::sync::Arc;

use quipu_consensus::Consensus;
use quipu_kv::Store;
use quipu_runtime::Clock;
use quipu_types::NodeId;

use crate::replica::{Images, MetadataStateMachine, ReplicaOpenError};
use crate::state_machine::{self, State};
use crate::{Image, Metadata};

/// A handle that shows one image for ever. Nobody leads its group: changes find no leader.
#[must_use]
pub fn fixed(image: Image, consensus: Arc<Consensus>, clock: Clock) -> Metadata {
    Metadata::fixed(Images::new(image), consensus, clock)
}

/// A handle that shows the images of a replica that is open here.
#[must_use]
pub fn following(images: Images, consensus: Arc<Consensus>, clock: Clock) -> Metadata {
    Metadata::new(images, consensus, clock)
}

/// The state of a cluster with shards on these nodes, each a preferred leader first.
#[must_use]
pub fn with_shards(image: Image, shards: &[Vec<NodeId>]) -> State {
    let mut state = State { image, ..State::default() };
    for nodes in shards {
        let class = u8::try_from(nodes.len()).expect("a shard has a handful of replicas");
        state_machine::add_shard(&mut state, class, nodes);
    }
    state
}

/// Opens a replica of a metadata group that begins with a state, the same on all nodes.
///
/// # Errors
/// As [`MetadataStateMachine::open`].
pub fn open(kv: Store, first: State) -> Result<(MetadataStateMachine, Images), ReplicaOpenError> {
    MetadataStateMachine::open_from(kv, first)
}
