//! A look at a data directory that changes nothing.

use std::path::Path;

use quipu_disk::Disk;
use quipu_types::{ClusterId, DirectoryId, FormatLevel, Incarnation, NodeId};

use super::{CONTENTS, Founder, IdentityError, JOURNAL, Rebuild, VERSION_FILE, file, is_empty};

/// What a `VERSION` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityReport {
    /// The node.
    pub node: NodeId,
    /// The directory.
    pub directory: DirectoryId,
    /// The cluster; nil before the node belongs to one.
    pub cluster: ClusterId,
    /// How often the directory was started.
    pub incarnation: Incarnation,
    /// The format level the cluster is finalized at, as far as the directory knows.
    pub level: FormatLevel,
    /// Who formed the cluster.
    pub founders: Vec<Founder>,
    /// How far a rebuild has come, if one has begun.
    pub rebuild: Option<Rebuild>,
}

/// Reads whose directory this is, as a start would, without one. Takes no lock. Blocks.
///
/// # Errors
/// What a start would be refused with.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<IdentityReport, IdentityError> {
    let Some(file) = file::read(disk, &dir.join(VERSION_FILE))? else {
        for found in CONTENTS {
            if !is_empty(disk, &dir.join(found))? {
                return Err(IdentityError::NoVersion { dir: dir.to_owned(), found });
            }
        }
        return Err(IdentityError::Nothing { dir: dir.to_owned() });
    };
    let is_whole = file.cluster != ClusterId::default() && file.rebuild.is_none();
    if is_whole && is_empty(disk, &dir.join(JOURNAL))? {
        return Err(IdentityError::NoJournal { dir: dir.to_owned() });
    }
    Ok(IdentityReport {
        node: file.node,
        directory: file.directory,
        cluster: file.cluster,
        incarnation: file.incarnation,
        level: file.level,
        founders: file.founders,
        rebuild: file.rebuild,
    })
}
