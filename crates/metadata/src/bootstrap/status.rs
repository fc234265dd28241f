//! How far a node is on the way into a cluster, as it tells the others.

use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::Consensus;
use quipu_types::{ClusterId, DirectoryId, NodeId};
use serde::{Deserialize, Serialize};

use crate::calls;
use crate::identity::{Founder, Identity};
use crate::replica::Images;

/// The answer to [`calls::BOOTSTRAP_STATUS`]. Between releases; fields may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Nil while the node is fresh.
    pub(super) cluster: ClusterId,
    /// The node's own directory.
    pub(super) directory: DirectoryId,
    /// Who formed the cluster.
    pub(super) founders: Vec<Founder>,
    /// The directory that the asking node is known by, if it is known.
    pub(super) caller: Option<DirectoryId>,
    /// The node's list.
    pub(super) bootstrap: Vec<(NodeId, String)>,
}

impl Status {
    fn of(
        caller: NodeId,
        identity: &Identity,
        images: &Images,
        bootstrap: &[(NodeId, String)],
    ) -> Self {
        Self {
            cluster: identity.cluster(),
            directory: identity.directory(),
            founders: identity.founders(),
            caller: images.image().known_directory(caller),
            bootstrap: bootstrap.to_vec(),
        }
    }

    fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("texts, numbers and lists have a JSON form"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Answers the question of other nodes from now on.
pub(super) fn answer(
    consensus: &Arc<Consensus>,
    identity: &Identity,
    images: &Images,
    bootstrap: &[(NodeId, String)],
) {
    let (identity, images, bootstrap) = (identity.clone(), images.clone(), bootstrap.to_vec());
    let handler = move |from: NodeId, _: Bytes| {
        let status = Status::of(from, &identity, &images, &bootstrap);
        std::future::ready(Ok(status.encode()))
    };
    consensus.on_call(calls::BOOTSTRAP_STATUS, Arc::new(handler));
}
