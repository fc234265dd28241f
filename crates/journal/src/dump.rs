//! What `quipu journal dump` prints.

use std::fmt;
use std::path::Path;

use quipu_disk::Disk;
use quipu_types::{EntryId, ShardId};

use crate::frame::{Frame, Header, read_header};
use crate::recovery::{later_frames, load};
use crate::{Damage, JournalFileId, JournalPosition, OpenError};

/// One frame, or one place without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpLine {
    /// Where it lies.
    pub position: JournalPosition,
    /// What it says; `None` at the end of a file's frames.
    pub frame: Option<DumpFrame>,
    /// What is wrong; at the end of a file's frames, why there is none.
    pub damage: Option<Damage>,
}

/// What a frame's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpFrame {
    /// start, entry, vote, committed, truncate, purge, remove or mark.
    pub kind: &'static str,
    /// The group, for kinds that belong to one.
    pub shard: Option<ShardId>,
    /// Term and index, where the kind has them.
    pub id: EntryId,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// Up to which byte the file was durable when this was written.
    pub durable: u64,
    /// The byte after the frame.
    pub end: u64,
    /// Whether recovery would not come to it, since a frame before it is bad.
    pub is_cut_off: bool,
}

/// Gives every frame of every file in `dir`, in order. Changes nothing and needs no lock, so it
/// may see a running journal half written.
///
/// # Errors
/// `Io` when a file or the folder cannot be read; damage is a line, not an error.
pub fn dump(disk: &dyn Disk, dir: &Path, each: &mut dyn FnMut(DumpLine)) -> Result<(), OpenError> {
    let failed =
        |action, path: &Path, source| OpenError::Io { action, path: path.to_owned(), source };
    let entries = disk.read_dir(dir).map_err(|error| failed("list", dir, error))?;
    for id in entries.iter().filter_map(|entry| JournalFileId::from_file_name(&entry.name)) {
        let path = dir.join(id.file_name());
        let bytes = load(disk, &path).map_err(|error| failed("read", &path, error))?;
        dump_file(&bytes, id, each);
    }
    Ok(())
}

fn dump_file(bytes: &[u8], file: JournalFileId, each: &mut dyn FnMut(DumpLine)) {
    let mut byte = 0;
    loop {
        match Frame::read(bytes, file, byte) {
            Ok(frame) => {
                each(line(&frame.header, None, false));
                byte = frame.header.end();
            }
            Err(damage) => {
                let position = JournalPosition { file, byte };
                each(match read_header(bytes, file, byte) {
                    Ok(header) => line(&header, Some(damage), false),
                    Err(_) => DumpLine { position, frame: None, damage: Some(damage) },
                });
                break;
            }
        }
    }
    for header in later_frames(bytes, file, byte) {
        each(line(&header, None, true));
    }
}

fn line(header: &Header, damage: Option<Damage>, is_cut_off: bool) -> DumpLine {
    let subject = header.subject;
    let frame = DumpFrame {
        kind: subject.kind.name(),
        shard: subject.kind.has_shard().then_some(subject.shard),
        id: subject.id,
        payload_bytes: header.payload_bytes,
        durable: header.durable,
        end: header.end(),
        is_cut_off,
    };
    DumpLine { position: header.place, frame: Some(frame), damage }
}

impl fmt::Display for DumpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>26}", self.position.to_string())?;
        if let Some(frame) = &self.frame {
            write!(f, " {:<9}", frame.kind)?;
            match frame.shard {
                Some(shard) => write!(f, " shard {shard} id {}", frame.id)?,
                None => f.write_str(" -")?,
            }
            write!(f, " {} bytes, durable {}", frame.payload_bytes, frame.durable)?;
            if frame.is_cut_off {
                f.write_str(", cut off")?;
            }
        }
        match self.damage {
            Some(damage) => write!(f, " [{damage}]"),
            None => Ok(()),
        }
    }
}
