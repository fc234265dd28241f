//! Why a data directory is not used.

use std::io;
use std::path::PathBuf;

use quipu_types::{ClusterId, FormatLevel, LevelRange, NodeId};

/// A data directory was refused. The sentences are for operators: each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process works in it.
    #[error(
        "data directory {} is in use by another process: stop that one, or give this node its own",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// It belongs to another node.
    #[error(
        "data directory {} belongs to node {found}, this is node {expected}: correct node.id or \
         node.data-dir",
        dir.display()
    )]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asks.
        expected: NodeId,
    },
    /// It belongs to another cluster.
    #[error(
        "data directory {} belongs to cluster {found}, not to {expected}: point the node at its \
         own cluster, or give it an empty directory",
        dir.display()
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The cluster asked for.
        expected: ClusterId,
    },
    /// A newer release wrote it.
    #[error(
        "{} has format {found}, this release reads {known}: start the newer release again, or \
         restore a backup made before the upgrade",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// What this release reads.
        known: u64,
    },
    /// Its cluster is finalized at a level that this release does not have.
    #[error(
        "{} says that the cluster is finalized at format level {found}, this release reads and \
         writes {known}: start the node with a release that has level {found}, as the other nodes \
         run",
        path.display()
    )]
    OtherLevel {
        /// The file.
        path: PathBuf,
        /// What the cluster is finalized at.
        found: FormatLevel,
        /// What this release does.
        known: LevelRange,
    },
    /// Its identity cannot be read.
    #[error(
        "{} is damaged ({reason}): do not delete it; restore it from a backup of this very \
         directory, or replace the node with `quipu node replace` on a running node",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is data, but nothing says whose.
    #[error(
        "data directory {} has {found}/ but no VERSION file: restore the file, or move the data \
         away to start with an empty directory",
        dir.display()
    )]
    NoVersion {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        found: &'static str,
    },
    /// There is nothing to look at.
    #[error("{} holds nothing of a node: name the directory that node.data-dir says", dir.display())]
    Nothing {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a member's name, but none of what it promised.
    #[error(
        "data directory {} belongs to a member of a cluster, but its journal/ is empty: mount or \
         restore the journal of this very directory; if it is lost for good, use `quipu node \
         replace` on a running node",
        dir.display()
    )]
    NoJournal {
        /// The directory.
        dir: PathBuf,
    },
    /// The node id is out of bounds.
    #[error("node id {node} is out of bounds: use 1 to {max}")]
    InvalidNodeId {
        /// As given.
        node: NodeId,
        /// The largest.
        max: u64,
    },
    /// The disk refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
}
