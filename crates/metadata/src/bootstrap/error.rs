//! Why a node does not get into its cluster.

use quipu_consensus::{InitializeError, OpenGroupError};
use quipu_types::{ClusterId, NodeId};

use crate::identity::IdentityError;
use crate::refusal::Refusal;

/// The start failed. The sentences are for operators: each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The cluster knows this node differently.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A peer turns this node away.
    #[error("node {node} turns this node away: {why}")]
    TurnedAway {
        /// The peer.
        node: NodeId,
        /// In its words.
        why: String,
    },
    /// Two nodes of the list have different lists.
    #[error(
        "cluster.bootstrap differs: here it is {ours}, on node {node} it is {theirs}: make it the \
         same on all nodes"
    )]
    ListsDiffer {
        /// The other node.
        node: NodeId,
        /// This node's list.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// Two nodes of the list are in different clusters.
    #[error(
        "node {first} belongs to cluster {first_cluster}, node {second} to {second_cluster}: \
         correct cluster.bootstrap, or empty the data directory of the one that is wrong"
    )]
    ClustersDiffer {
        /// One.
        first: NodeId,
        /// Its cluster.
        first_cluster: ClusterId,
        /// The other.
        second: NodeId,
        /// The other's cluster.
        second_cluster: ClusterId,
    },
    /// The identity cannot be changed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The metadata group cannot be opened.
    #[error("open the metadata group: {0}")]
    OpenGroup(#[from] OpenGroupError),
    /// The metadata group cannot be formed.
    #[error("form the metadata group: {0}")]
    Initialize(#[from] InitializeError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopping,
}
