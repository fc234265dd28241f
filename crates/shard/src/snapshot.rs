//! The missing bytes plus a small state (ARCHITECTURE D8).
//!
//! The leader names, per partition, its state and how far it reaches (the [`Manifest`]); the
//! follower says what it has ([`Have`]); chunks carry stored batches from there on. Committed
//! bytes are the same everywhere, so nothing is copied to build a snapshot and nothing a follower
//! has is sent again. Byte tables: `docs/formats/bundle.md`.

use std::io;
use std::path::{Path, PathBuf};

use quipu_disk::Disk;
use quipu_types::{Offset, ShardId};

mod chunk;
mod have;
mod manifest;
mod receiver;
mod source;
mod stage;

pub(crate) use have::{Have, HaveRow};
pub(crate) use manifest::{Manifest, ManifestRow};
pub(crate) use receiver::Receiver;
pub(crate) use source::{Source, SourcePartition};
pub(crate) use stage::{Berth, StageReader, Staged};

/// The directory one snapshot is staged in.
pub(crate) fn stage_dir(root: &Path, shard: ShardId, number: u64) -> PathBuf {
    root.join(format!("{shard}-{number}"))
}

/// Removes what a crash left of half-received snapshots.
pub(crate) fn clear_stages(disk: &dyn Disk, root: &Path, shard: ShardId) -> io::Result<()> {
    if !disk.exists(root) {
        return Ok(());
    }
    let prefix = format!("{shard}-");
    for entry in disk.read_dir(root)? {
        if entry.is_dir && entry.name.starts_with(&prefix) {
            tracing::info!(stage = entry.name, "remove a half-received snapshot");
            disk.remove_dir_all(&root.join(entry.name))?;
        }
    }
    Ok(())
}

/// From where on a follower needs a partition; both sides agree on it.
fn first_missing(row: &ManifestRow, have: &Have) -> Offset {
    match have.row(row.partition) {
        // The same life, and its end lies in what the leader keeps: it continues there.
        Some(has) if has.opened == row.opened && has.high_watermark >= row.log_start => {
            has.high_watermark
        }
        Some(_) | None => row.log_start,
    }
}
