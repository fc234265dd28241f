//! Where the other nodes are reached.

use std::collections::BTreeMap;

use quipu_consensus::AddressBook;
use quipu_types::NodeId;

use crate::replica::Images;

/// Peer addresses: as registered, else as configured for the first start.
#[derive(Clone, Debug)]
pub struct Addresses {
    bootstrap: BTreeMap<NodeId, String>,
    images: Images,
}

impl Addresses {
    /// The addresses of the configured nodes and of all that register.
    #[must_use]
    pub fn new(bootstrap: &[(NodeId, String)], images: Images) -> Self {
        Self { bootstrap: bootstrap.iter().cloned().collect(), images }
    }
}

impl AddressBook for Addresses {
    fn address(&self, node: NodeId) -> Option<String> {
        let image = self.images.image();
        if image.removed.contains_key(&node) {
            // Another may be there by now.
            return None;
        }
        let registered = image.nodes.get(&node).map(|record| record.address_peer.clone());
        registered.or_else(|| self.bootstrap.get(&node).cloned())
    }
}
