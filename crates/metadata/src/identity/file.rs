//! The `VERSION` file: `docs/formats/identity.md`.

use std::io;
use std::path::Path;

use quipu_disk::{Disk, OpenMode};
use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, NodeId, ReplicaId, StartHistory, StartId,
};
use serde::{Deserialize, Serialize};

use super::{Founder, IdentityError, Rebuild};
use crate::level;

/// The layout this release writes. Persisted; grows with each change.
pub(super) const FORMAT: u64 = 1;
/// A file of this size is no `VERSION` file: thousands of founders would fit in less.
const BYTES_MAX: u64 = 1 << 20;
/// In front of the checksum, on the last line.
const CHECKSUM: &str = "crc32c ";

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionFile {
    /// First, so that other formats are told by their first field.
    format: u64,
    /// What the cluster is finalized at: releases without it stop here.
    #[serde(default)]
    pub(super) level: FormatLevel,
    pub(super) node: NodeId,
    pub(super) directory: DirectoryId,
    pub(super) incarnation: Incarnation,
    pub(super) starts: StartHistory,
    /// Nil before the node belongs to one.
    pub(super) cluster: ClusterId,
    pub(super) founders: Vec<Founder>,
    /// Its id in the metadata group since it was rebuilt; absent where it is the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replica: Option<ReplicaId>,
    /// Absent unless the node is on the way to a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rebuild: Option<Rebuild>,
}

/// What every format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u64,
    #[serde(default)]
    level: FormatLevel,
}

impl VersionFile {
    /// The first start of a new directory.
    pub(super) fn new(node: NodeId, directory: DirectoryId, start: StartId) -> Self {
        Self {
            format: FORMAT,
            // Nothing is there yet that an older level could be needed for.
            level: level::own().min,
            node,
            directory,
            incarnation: Incarnation::new(1),
            starts: StartHistory::first(start),
            cluster: ClusterId::from_bytes([0; 16]),
            founders: Vec::new(),
            replica: None,
            rebuild: None,
        }
    }

    /// The next start, if the directory is this node's.
    pub(super) fn started(
        self,
        dir: &Path,
        node: NodeId,
        cluster: Option<ClusterId>,
        start: StartId,
    ) -> Result<Self, IdentityError> {
        let dir = dir.to_owned();
        if self.node != node {
            return Err(IdentityError::OtherNode { dir, found: self.node, expected: node });
        }
        let is_member = self.cluster != ClusterId::default();
        match cluster.filter(|cluster| is_member && *cluster != self.cluster) {
            Some(expected) => {
                Err(IdentityError::OtherCluster { dir, found: self.cluster, expected })
            }
            None => Ok(self.with_start(start)),
        }
    }

    fn with_start(mut self, start: StartId) -> Self {
        self.starts.push(start);
        Self { incarnation: self.incarnation.next(), ..self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).expect("it has a JSON form");
        text.push('\n');
        let line = format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(text.as_bytes()));
        text.push_str(&line);
        text.into_bytes()
    }

    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let damaged = |reason: String| IdentityError::Damaged { path: path.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let (body, line) = text
            .trim_end_matches('\n')
            .rsplit_once('\n')
            .ok_or_else(|| damaged("it has no line with a checksum".to_owned()))?;
        let body = format!("{body}\n");
        let expected = format!("{CHECKSUM}{:08x}", crc32c::crc32c(body.as_bytes()));
        if line != expected {
            return Err(damaged(format!("its last line is {line:?}, not {expected:?}")));
        }
        let any: AnyFormat =
            serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
        if any.format > FORMAT {
            let path = path.to_owned();
            return Err(IdentityError::NewerFormat { path, found: any.format, known: FORMAT });
        }
        let levels = level::own();
        if !levels.holds(any.level) {
            let path = path.to_owned();
            return Err(IdentityError::OtherLevel { path, found: any.level, known: levels });
        }
        let file: Self = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
        if file.incarnation == Incarnation::new(u64::MAX) {
            return Err(damaged("no start can follow its incarnation".to_owned()));
        }
        Ok(file)
    }
}

/// Reads the file; none if there is none.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<VersionFile>, IdentityError> {
    let refused = |error: io::Error| IdentityError::Io { path: path.to_owned(), error };
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let length = file.len().map_err(refused)?;
    if length > BYTES_MAX {
        let reason = format!("it has {length} bytes");
        return Err(IdentityError::Damaged { path: path.to_owned(), reason });
    }
    let mut bytes = vec![0; usize::try_from(length).expect("it was found to be small")];
    file.read_exact_at(&mut bytes, 0).map_err(refused)?;
    VersionFile::decode(path, &bytes).map(Some)
}
