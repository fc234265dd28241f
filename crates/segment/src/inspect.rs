//! A look at a log's files that changes nothing and needs no checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use quipu_disk::{Disk, OpenMode};
use quipu_types::Offset;

use crate::config::Config;
use crate::error::{Corruption, FileFailure, ReadError};
use crate::file_name::{self, Kind};
use crate::scan;
use crate::window::{READ_ON_BYTES, Window};

/// What the files of a log hold, by the headers of their batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Segments.
    pub segments: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// The first offset that is there.
    pub start: Offset,
    /// The offset after the last whole batch.
    pub end: Offset,
    /// A sealed segment that is damaged or does not reach the next one: each, in order.
    pub damaged: Vec<Corruption>,
    /// Where the last segment stops to make sense: a crash leaves that, and the next start cuts it
    /// off, unless a checkpoint lies behind it.
    pub torn: Option<Corruption>,
}

/// Walks over the headers of all batches in `dir`; what is in the batches is not looked at.
/// Changes nothing, so it may see a running log half written.
///
/// # Errors
/// When a file or the folder cannot be read; damage is part of the report.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<LogReport, FileFailure> {
    let entries = disk.read_dir(dir).map_err(|error| FileFailure::new("list", dir, error))?;
    let logs: BTreeMap<Offset, u64> = entries
        .iter()
        .filter_map(|entry| match file_name::parse(&entry.name)? {
            (base, Kind::Log) => Some((base, entry.bytes)),
            (_, Kind::Index | Kind::TimeIndex | Kind::Cleaned | Kind::Rewritten | Kind::Copied) => {
                None
            }
        })
        .collect();
    let start = logs.keys().next().copied().unwrap_or_default();
    let mut report = LogReport { segments: logs.len(), start, end: start, ..LogReport::default() };
    let nexts = logs.keys().skip(1).copied().map(Some).chain([None]);
    for ((base, bytes), next) in logs.iter().zip(nexts) {
        report.bytes += bytes;
        let path = file_name::path(dir, *base, Kind::Log);
        match (walk(disk, &path, *base, *bytes)?, next) {
            (Ok(end), Some(next)) if end != next => {
                let values = (next.get(), end.get());
                report.damaged.push(Corruption::new(&path, *bytes, "end", values));
            }
            (Ok(end), _) => report.end = end,
            (Err(damage), Some(_)) => report.damaged.push(damage),
            (Err(torn), None) => report.torn = Some(torn),
        }
    }
    Ok(report)
}

fn walk(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    bytes: u64,
) -> Result<Result<Offset, Corruption>, FileFailure> {
    let file =
        disk.open(path, OpenMode::Read).map_err(|error| FileFailure::new("open", path, error))?;
    let mut window = Window::new(&*file, path, bytes, READ_ON_BYTES);
    let interval = Config::default().index_interval_bytes.into();
    match scan::index_all(&mut window, base, interval) {
        Ok((_, end)) => Ok(Ok(end)),
        Err(ReadError::Corruption(damage)) => Ok(Err(damage)),
        Err(ReadError::Io(failure)) => Err(failure),
        Err(ReadError::OutOfRange { .. }) => Ok(Err(Corruption::new(path, 0, "range", (0, bytes)))),
    }
}
