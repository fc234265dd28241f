//! Who a data directory belongs to: one node of one cluster, for ever.
//!
//! A directory that was wiped, swapped, copied back or is in use is refused with a sentence that
//! says what to do (RELIABILITY §5.6): a node that forgot its votes and acknowledgements under its
//! old name could break promises that others rely on. Byte layout: `docs/formats/identity.md`.

mod error;
mod file;
mod inspect;
mod quarantine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_consensus::PeerIdentity;
use quipu_disk::{Disk, LockGuard, write_atomic};
use quipu_types::{ClusterId, DirectoryId, FormatLevel, Incarnation, NodeId, StartId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use error::IdentityError;
use file::VersionFile;
pub use inspect::{IdentityReport, inspect};
pub use quarantine::Rebuild;

/// The file that says whose directory this is.
const VERSION_FILE: &str = "VERSION";
/// The file that is locked while a process uses the directory.
const LOCK_FILE: &str = "LOCK";
/// Never empty once the node belongs to a cluster: its votes are there.
const JOURNAL: &str = "journal";
/// Where what a node lost the right to is kept for a look.
const QUARANTINE: &str = "quarantine";
/// What a node keeps: where any of these is, there must be a `VERSION`.
const CONTENTS: [&str; 5] = [JOURNAL, "partitions", "meta", "snapshots", QUARANTINE];
/// Node ids end where replica ids begin.
const NODE_ID_MAX: u64 = crate::state_machine::REPLICA_ID_FIRST - 1;

/// A node that took part in forming the cluster, with the directory it had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founder {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
}

/// A data directory that is this node's, and locked. Clones share it; the lock goes with the last.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Mutex<VersionFile>,
    _lock: Box<dyn LockGuard>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&*self.file()).finish()
    }
}

impl Identity {
    /// Locks a directory, checks that it is this node's, and counts the start: on return the new
    /// incarnation is on the disk. A directory that is empty or missing becomes the node's.
    ///
    /// `cluster` is what the operator expects, if anything. Blocks.
    ///
    /// # Errors
    /// [`IdentityError`], whose sentence says what to do. Nothing was changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node: NodeId,
        cluster: Option<ClusterId>,
    ) -> Result<Self, IdentityError> {
        if !(1..=NODE_ID_MAX).contains(&node.get()) {
            return Err(IdentityError::InvalidNodeId { node, max: NODE_ID_MAX });
        }
        let refused = |error| IdentityError::Io { path: dir.to_owned(), error };
        disk.create_dir_all(dir).map_err(refused)?;
        let lock = disk.lock(&dir.join(LOCK_FILE)).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                IdentityError::InUse { dir: dir.to_owned() }
            } else {
                IdentityError::Io { path: dir.join(LOCK_FILE), error }
            }
        })?;
        let path = dir.join(VERSION_FILE);
        let start = StartId::new(Uuid::new_v4());
        let file = match file::read(&*disk, &path)? {
            Some(file) => {
                let file = file.started(dir, node, cluster, start)?;
                let is_member = file.cluster != ClusterId::default();
                // One that is being rebuilt may be between its old journal and its new one.
                if is_member && file.rebuild.is_none() && is_empty(&*disk, &dir.join(JOURNAL))? {
                    return Err(IdentityError::NoJournal { dir: dir.to_owned() });
                }
                file
            }
            None => {
                refuse_orphans(&*disk, dir)?;
                VersionFile::new(node, DirectoryId::new(Uuid::new_v4()), start)
            }
        };
        let identity =
            Self { inner: Arc::new(Inner { disk, path, file: Mutex::new(file), _lock: lock }) };
        identity.write(&identity.file())?;
        Ok(identity)
    }

    fn file(&self) -> MutexGuard<'_, VersionFile> {
        self.inner.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, file: &VersionFile) -> Result<(), IdentityError> {
        let written = write_atomic(&*self.inner.disk, &self.inner.path, &file.encode());
        written.map_err(|error| IdentityError::Io { path: self.inner.path.clone(), error })
    }

    /// Makes a change, durable on return; unless it changes nothing.
    fn change(&self, make: impl FnOnce(&mut VersionFile)) -> Result<(), IdentityError> {
        let mut file = self.file();
        let mut changed = file.clone();
        make(&mut changed);
        if changed != *file {
            self.write(&changed)?;
            *file = changed;
        }
        Ok(())
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.file().node
    }

    /// The cluster; nil until one was formed or adopted.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.file().cluster
    }

    /// Whether the node belongs to a cluster.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.cluster() != ClusterId::default()
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> DirectoryId {
        self.file().directory
    }

    /// Which start of the directory this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.file().incarnation
    }

    /// The nodes that formed the cluster, as this node learned of them, in order of id.
    #[must_use]
    pub fn founders(&self) -> Vec<Founder> {
        self.file().founders.clone()
    }

    /// What other nodes are told.
    #[must_use]
    pub fn peer_identity(&self) -> PeerIdentity {
        let file = self.file();
        PeerIdentity {
            cluster: file.cluster,
            node: file.node,
            directory: file.directory,
            incarnation: file.incarnation,
            starts: file.starts.clone(),
        }
    }

    /// The cluster knows of this start, durably: earlier ones need not be told any more. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the starts are remembered still.
    pub fn note_registered(&self) -> Result<(), IdentityError> {
        self.change(|file| file.starts.note_registered(file.incarnation))
    }

    /// The format level the cluster is finalized at, as far as this directory knows.
    #[must_use]
    pub fn level(&self) -> FormatLevel {
        self.file().level
    }

    /// The cluster is finalized at a level, durably noted on return: releases without it refuse
    /// the directory from now on. A lower one: nothing. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_level(&self, level: FormatLevel) -> Result<(), IdentityError> {
        self.change(|file| file.level = file.level.max(level))
    }

    /// Makes the node a member of a cluster, durably. Again with the same id: nothing. Blocks.
    ///
    /// # Errors
    /// `OtherCluster` when the directory belongs to one already.
    pub fn adopt_cluster(
        &self,
        cluster: ClusterId,
        mut founders: Vec<Founder>,
    ) -> Result<(), IdentityError> {
        founders.sort_by_key(|founder| founder.node);
        let mut file = self.file();
        if file.cluster == cluster {
            return Ok(());
        }
        if file.cluster != ClusterId::default() {
            let dir = self.inner.path.parent().unwrap_or(&self.inner.path).to_owned();
            return Err(IdentityError::OtherCluster {
                dir,
                found: file.cluster,
                expected: cluster,
            });
        }
        let mut member = file.clone();
        member.cluster = cluster;
        member.founders = founders;
        self.write(&member)?;
        *file = member;
        Ok(())
    }
}

/// A directory with a node's files but without its `VERSION` was damaged by hand.
fn refuse_orphans(disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
    for found in CONTENTS {
        if !is_empty(disk, &dir.join(found))? {
            return Err(IdentityError::NoVersion { dir: dir.to_owned(), found });
        }
    }
    Ok(())
}

/// Whether a folder has nothing in it, or is not there.
fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool, IdentityError> {
    if !disk.exists(path) {
        return Ok(true);
    }
    let found = disk.read_dir(path);
    let found = found.map_err(|error| IdentityError::Io { path: path.to_owned(), error })?;
    Ok(found.is_empty())
}
