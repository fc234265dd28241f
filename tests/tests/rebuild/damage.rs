//! A bit in the middle of a journal, in a frame of which later ones say that it was durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_testkit::until;

use crate::field::Field;

/// How long the load may take to fill a journal file.
const WAIT: Duration = Duration::from_secs(60);
/// Frames of a file before one in the middle is damaged.
const FRAMES_MIN: usize = 200;
/// `docs/formats/journal.md`.
const MAGIC: [u8; 4] = [0x51, 0x4A, 0x46, 0xB1];

/// A bit that was flipped in the journal of a node that does not run.
pub(crate) struct Damage {
    pub(crate) node: u64,
    file: PathBuf,
    byte: u64,
    /// Folders of the quarantine before.
    pub(crate) quarantines: usize,
    /// How much the node had written to its log.
    pub(crate) log: usize,
}

impl Damage {
    /// Kills a node and flips a bit in the middle of its journal.
    pub(crate) async fn to(field: &mut Field, node: u64) -> Result<Self> {
        let data = field.cluster.node(node).dir().join("data");
        until("a journal with a middle", WAIT, || async {
            let found = newest(&data)?.1.len();
            ensure!(found >= FRAMES_MIN, "{found} frames");
            ensure!(data.join("partitions").exists(), "no partitions");
            Ok(())
        })
        .await?;
        field.cluster.node(node).kill()?;
        let (file, frames) = newest(&data)?;
        let byte = frames[frames.len() / 2] + 20;
        let log = field.cluster.node(node).log().len();
        let damage = Self { node, file, byte, quarantines: quarantines(&data)?.len(), log };
        damage.flip()?;
        Ok(damage)
    }

    /// Flips it back.
    pub(crate) fn undo(&self) -> Result<()> {
        self.flip()
    }

    fn flip(&self) -> Result<()> {
        let file = File::options().read(true).write(true).open(&self.file)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.byte)?;
        byte[0] ^= 0x10;
        file.write_all_at(&byte, self.byte)?;
        Ok(())
    }
}

/// The newest file that has frames, and where they begin.
fn newest(data: &Path) -> Result<(PathBuf, Vec<u64>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data.join("journal"))? {
        let path = entry?.path();
        files.extend(path.extension().is_some_and(|ending| ending == "journal").then_some(path));
    }
    files.sort();
    for file in files.into_iter().rev() {
        let frames = frames(&file)?;
        if !frames.is_empty() {
            return Ok((file, frames));
        }
    }
    anyhow::bail!("no journal file has frames")
}

/// Frames of this life of a file: they name it.
fn frames(file: &Path) -> Result<Vec<u64>> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).context("a number")?;
    let number: u64 = stem.parse()?;
    let bytes = std::fs::read(file)?;
    let begins = |at: &usize| {
        let begin = &bytes[*at..];
        begin.starts_with(&MAGIC) && begin.get(8..16) == Some(&number.to_le_bytes()[..])
    };
    let found = (0..bytes.len()).step_by(8).filter(begins);
    Ok(found.map(|at| u64::try_from(at).expect("a file's length fits")).collect())
}

/// The folders of a quarantine.
pub(crate) fn quarantines(data: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(data.join("quarantine")) else { return Ok(Vec::new()) };
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    found.sort();
    Ok(found)
}

/// Everything a node keeps but its identity, which counts starts, and what a start removes.
pub(crate) fn files(field: &mut Field, node: u64) -> Result<BTreeMap<PathBuf, u32>> {
    let data = field.cluster.node(node).dir().join("data");
    let mut found = BTreeMap::new();
    collect(&data, &mut found)?;
    let is_kept = |path: &Path| {
        let is_unfinished = path.extension().is_some_and(|ending| ending == "new");
        !path.ends_with("VERSION") && !path.ends_with("LOCK") && !is_unfinished
    };
    found.retain(|path, _| is_kept(path));
    Ok(found)
}

fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, u32>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.insert(path.clone(), 0);
            collect(&path, found)?;
        } else {
            let sum = crc32c::crc32c(&std::fs::read(&path)?);
            found.insert(path, sum);
        }
    }
    Ok(())
}
