//! Whom a node takes for a peer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use quipu_consensus::{Hello, HelloPolicy, PeerIdentity, Rejection};
use quipu_types::{ClusterId, DirectoryId, Incarnation, NodeId, StartId};

use crate::bootstrap::TRY_AGAIN;
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::replica::Images;

/// Admits nodes with the directory they are known by, in no older state than was last heard.
///
/// A node that lost its disk must not take part under its old name: it has forgotten whom it voted
/// for and what it acknowledged. It is turned away before it can say a word.
#[derive(Debug)]
pub struct Admission {
    identity: Identity,
    images: Images,
    /// The latest start of each node that was admitted since this node started.
    heard: Mutex<BTreeMap<NodeId, (Incarnation, StartId)>>,
}

impl Admission {
    /// The policy of a node.
    #[must_use]
    pub fn new(identity: Identity, images: Images) -> Self {
        Self { identity, images, heard: Mutex::default() }
    }

    /// The directory a node is known by: as registered, else as it was when the cluster was
    /// formed.
    fn known_directory(&self, node: NodeId) -> Option<DirectoryId> {
        let founders = self.identity.founders();
        let founder = founders.iter().find(|founder| founder.node == node);
        let registered = self.images.image().known_directory(node);
        registered.or_else(|| founder.map(|founder| founder.directory))
    }

    fn check_directory(&self, sender: &PeerIdentity) -> Result<(), Rejection> {
        let (node, given) = (sender.node, sender.directory);
        if self.images.image().removed.contains_key(&node) {
            return Err(refused(&Refusal::NodeRemoved { node }));
        }
        match self.known_directory(node) {
            Some(known) if known != given => {
                Err(refused(&Refusal::NodeIdTaken { node, known, given }))
            }
            Some(_) => Ok(()),
            // Nobody known: a node that joins. But this node must know its own cluster first.
            None if self.images.image().is_formed() => Ok(()),
            None => Err(Rejection::WrongNode(format!(
                "node {node} is not known here yet: this node is still learning its cluster's \
                 metadata; {TRY_AGAIN}"
            ))),
        }
    }

    fn check_incarnation(&self, sender: &PeerIdentity) -> Result<(), Rejection> {
        let (node, given) = (sender.node, sender.incarnation);
        let image = self.images.image();
        let registered = image.nodes.get(&node).map(|record| (record.incarnation, record.start));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = [registered, heard.get(&node).copied()];
        let missing = known
            .into_iter()
            .flatten()
            .find(|(number, start)| !sender.starts.follows(*number, *start));
        if let Some((known, _)) = missing {
            return Err(refused(&Refusal::OldDirectory { node, known, given }));
        }
        heard.insert(node, (given, sender.starts.present()));
        Ok(())
    }
}

fn refused(refusal: &Refusal) -> Rejection {
    Rejection::WrongNode(refusal.to_string())
}

impl HelloPolicy for Admission {
    fn check(&self, own: &PeerIdentity, hello: &Hello) -> Result<(), Rejection> {
        // Without a cluster there is nothing to protect; with one, everybody is checked.
        if own.cluster == ClusterId::default() {
            return Ok(());
        }
        self.check_directory(&hello.sender)?;
        self.check_incarnation(&hello.sender)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use quipu_disk::{Faults, FaultyDisk};

    use quipu_types::StartHistory;

    use super::*;
    use crate::identity::Founder;
    use crate::image::{Image, NodeRecord};

    fn directory(of: u8) -> DirectoryId {
        DirectoryId::from_bytes([of; 16])
    }

    fn start(number: u64) -> StartId {
        StartId::from_bytes([u8::try_from(number).unwrap(); 16])
    }

    fn cluster() -> ClusterId {
        ClusterId::from_bytes([9; 16])
    }

    fn image() -> Image {
        let mut image = Image::default();
        image.cluster = cluster();
        let record = NodeRecord {
            address_client: String::new(),
            address_peer: String::new(),
            directory: directory(3),
            incarnation: Incarnation::new(5),
            start: start(5),
            rack: String::new(),
            version: String::new(),
            levels: quipu_types::LevelRange::default(),
            state: crate::image::NodeState::Active,
            rebuilt: None,
        };
        image.nodes.insert(NodeId::new(3), record);
        image
    }

    fn admission(image: Image) -> Admission {
        let disk = Arc::new(FaultyDisk::new(1, Faults::default()));
        let identity = Identity::open(disk, Path::new("/data"), NodeId::new(1), None).unwrap();
        let founder = Founder { node: NodeId::new(2), directory: directory(2) };
        identity.adopt_cluster(cluster(), vec![founder]).unwrap();
        Admission::new(identity, Images::new(image))
    }

    fn say(
        admission: &Admission,
        cluster: ClusterId,
        node: u64,
        of: u8,
        incarnation: u64,
    ) -> Result<(), String> {
        let sender = PeerIdentity {
            cluster,
            node: NodeId::new(node),
            directory: directory(of),
            incarnation: Incarnation::new(incarnation),
            starts: StartHistory::new(Incarnation::new(incarnation), vec![start(incarnation)])
                .unwrap(),
        };
        let hello = Hello { sender, receiver: NodeId::new(1) };
        let own = admission.identity.peer_identity();
        admission.check(&own, &hello).map_err(|rejection| rejection.to_string())
    }

    #[test]
    fn known_nodes_are_welcome_with_their_own_directory_only() {
        let admission = admission(image());
        let nil = ClusterId::default();
        assert_eq!(say(&admission, cluster(), 2, 2, 1), Ok(()));
        assert_eq!(say(&admission, cluster(), 3, 3, 5), Ok(()));
        assert_eq!(say(&admission, nil, 2, 2, 2), Ok(()), "a founder that has not adopted yet");
        assert_eq!(say(&admission, nil, 4, 4, 1), Ok(()), "a node that joins");
        for (given, node) in [(cluster(), 2), (nil, 2), (cluster(), 3), (nil, 3)] {
            let refused = say(&admission, given, node, 7, 9).unwrap_err();
            assert!(
                refused.starts_with("WRONG_NODE: ") && refused.contains("was wiped"),
                "{refused}"
            );
        }
    }

    #[test]
    fn an_older_start_is_turned_away() {
        let admission = admission(image());
        let refused = say(&admission, cluster(), 3, 3, 4).unwrap_err();
        assert!(refused.contains("it is an old copy"), "{refused}");
        assert_eq!(say(&admission, cluster(), 2, 2, 8), Ok(()));
        let refused = say(&admission, cluster(), 2, 2, 7).unwrap_err();
        assert!(refused.contains("at start 7, that does not know"), "{refused}");
    }

    #[test]
    fn strangers_wait_until_this_node_knows_its_cluster() {
        let admission = admission(Image::default());
        let refused = say(&admission, ClusterId::default(), 4, 4, 1).unwrap_err();
        assert!(refused.contains("try again"), "{refused}");
        assert_eq!(say(&admission, ClusterId::default(), 2, 2, 1), Ok(()), "founders are known");
    }
}
