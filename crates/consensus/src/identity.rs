//! Who a node is to its peers, and whom it takes for a peer.

use quipu_types::{ClusterId, DirectoryId, Incarnation, NodeId, StartHistory};

/// A node's identity. The cluster id is nil until the node belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its data directory: tells a wiped disk from a restarted node.
    pub directory: DirectoryId,
    /// How often the directory was started.
    pub incarnation: Incarnation,
    /// The starts it remembers.
    pub starts: StartHistory,
}

/// What a node says of itself, and whom it means to reach. In front of everything between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender.
    pub sender: PeerIdentity,
    /// The node the sender believes to be talking to.
    pub receiver: NodeId,
}

/// A peer was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The sender means another node, or is not who it claims to be.
    #[error("WRONG_NODE: {0}")]
    WrongNode(String),
    /// The sender belongs to another cluster.
    #[error("WRONG_CLUSTER: {0}")]
    WrongCluster(String),
}

/// Decides beyond the fixed rules (the receiver is this node; cluster ids agree) whom to accept.
pub trait HelloPolicy: Send + Sync + 'static {
    /// Judges a hello. `own` is this node's identity by now; cluster ids agree, or one is nil.
    ///
    /// # Errors
    /// [`Rejection`], whose words reach the sender's operator.
    fn check(&self, own: &PeerIdentity, hello: &Hello) -> Result<(), Rejection>;
}

/// The policy of a node that is not forming a cluster: no one without a cluster.
#[derive(Clone, Copy, Debug)]
pub struct MembersOnly;

impl HelloPolicy for MembersOnly {
    fn check(&self, own: &PeerIdentity, hello: &Hello) -> Result<(), Rejection> {
        if own.cluster == hello.sender.cluster && !is_nil(own.cluster) {
            return Ok(());
        }
        Err(Rejection::WrongCluster(format!(
            "node {} has cluster {}, this node has {}",
            hello.sender.node, hello.sender.cluster, own.cluster
        )))
    }
}

/// Where nodes are reached.
pub trait AddressBook: Send + Sync + 'static {
    /// `host:port` of a node's peer listener, when known.
    fn address(&self, node: NodeId) -> Option<String>;
}

fn is_nil(cluster: ClusterId) -> bool {
    cluster.to_bytes() == [0; 16]
}

/// The fixed rules, then the policy's.
pub(crate) fn judge(
    own: &PeerIdentity,
    hello: &Hello,
    policy: &dyn HelloPolicy,
) -> Result<(), Rejection> {
    if hello.receiver != own.node {
        return Err(Rejection::WrongNode(format!(
            "this is node {}, not node {}: check the addresses",
            own.node, hello.receiver
        )));
    }
    if hello.sender.node == own.node {
        return Err(Rejection::WrongNode(format!("two nodes claim to be node {}", own.node)));
    }
    let (ours, theirs) = (own.cluster, hello.sender.cluster);
    if ours != theirs && !is_nil(ours) && !is_nil(theirs) {
        return Err(Rejection::WrongCluster(format!(
            "node {} belongs to cluster {theirs}, node {} to {ours}",
            hello.sender.node, own.node
        )));
    }
    policy.check(own, hello)
}

/// Whether the answer to a hello came from whom it was meant for. Everything else about an answer
/// is judged as if it were a hello.
pub(crate) fn judge_welcome(expected: NodeId, welcome: &PeerIdentity) -> Result<(), Rejection> {
    if welcome.node == expected {
        return Ok(());
    }
    Err(Rejection::WrongNode(format!(
        "node {} answered where node {expected} was expected: check the addresses",
        welcome.node
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: u8, node: u64) -> PeerIdentity {
        PeerIdentity {
            cluster: ClusterId::from_bytes([cluster; 16]),
            node: NodeId::new(node),
            directory: DirectoryId::from_bytes([7; 16]),
            incarnation: Incarnation::new(1),
            starts: StartHistory::default(),
        }
    }

    fn hello(cluster: u8, from: u64, to: u64) -> Hello {
        Hello { sender: identity(cluster, from), receiver: NodeId::new(to) }
    }

    struct Everyone;

    impl HelloPolicy for Everyone {
        fn check(&self, _: &PeerIdentity, _: &Hello) -> Result<(), Rejection> {
            Ok(())
        }
    }

    #[test]
    fn strangers_are_told_why() {
        let own = identity(1, 1);
        assert_eq!(judge(&own, &hello(1, 2, 1), &MembersOnly), Ok(()));
        let wrong_node = judge(&own, &hello(1, 2, 3), &Everyone);
        assert!(matches!(wrong_node, Err(Rejection::WrongNode(_))));
        let twin = judge(&own, &hello(1, 1, 1), &Everyone);
        assert!(matches!(twin, Err(Rejection::WrongNode(_))));
        let foreign = judge(&own, &hello(2, 2, 1), &Everyone);
        assert!(matches!(foreign, Err(Rejection::WrongCluster(_))));
    }

    #[test]
    fn a_node_without_a_cluster_needs_the_policy() {
        let own = identity(1, 1);
        assert_eq!(judge(&own, &hello(0, 2, 1), &Everyone), Ok(()));
        let refused = judge(&own, &hello(0, 2, 1), &MembersOnly);
        assert!(matches!(refused, Err(Rejection::WrongCluster(_))));
        assert!(judge(&identity(0, 1), &hello(0, 2, 1), &MembersOnly).is_err());
        assert_eq!(judge(&identity(0, 1), &hello(0, 2, 1), &Everyone), Ok(()));
    }
}
