//! What a node keeps its data on: a plain directory, or a small file system of its own.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::command::{run, text};

/// Size of a file system; the file that holds it is sparse.
const IMAGE_BYTES: u64 = 2 << 30;
/// Pieces in which a disk is filled, down to single blocks.
const FILLER_BYTES: [u64; 3] = [64 << 20, 1 << 20, 4 << 10];

/// What a node keeps its data on.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    /// Present when the directory is a file system of its own.
    image: Option<PathBuf>,
}

impl Disk {
    /// A directory.
    pub(crate) fn plain(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), image: None })
    }

    /// An ext4 file system in the file `image`, mounted at `dir`.
    pub(crate) fn mounted(dir: &Path, image: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        // Without blocks kept for root, so that full is full.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)?])?;
        let disk = Self { dir: dir.to_owned(), image: Some(image) };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) const fn is_own(&self) -> bool {
        self.image.is_some()
    }

    fn image(&self) -> Result<&Path> {
        self.image.as_deref().context("the disk is a plain directory")
    }

    fn mount(&self) -> Result<()> {
        run("mount", &["-o", "loop", text(self.image()?)?, text(&self.dir)?]).map(drop)
    }

    /// Notes what the disk holds at this moment: what was not flushed is not in it.
    pub(crate) fn copy(&self) -> Result<PathBuf> {
        let image = self.image()?;
        let copy = image.with_extension("copy");
        run("cp", &["--sparse=always", text(image)?, text(&copy)?])?;
        Ok(copy)
    }

    /// Goes on with a copy, as after a power loss when it was taken. Nobody may use the disk.
    pub(crate) fn replace(&self, copy: &Path) -> Result<()> {
        run("umount", &[text(&self.dir)?])?;
        std::fs::rename(copy, self.image()?)?;
        self.mount()
    }

    /// Leaves no byte free; gives how many were taken.
    pub(crate) fn fill(&self) -> Result<u64> {
        if !self.is_own() {
            bail!("a shared disk is not filled");
        }
        let filler = File::create(self.filler())?;
        let mut taken = 0;
        for piece in FILLER_BYTES {
            loop {
                match rustix::fs::fallocate(&filler, FallocateFlags::empty(), taken, piece) {
                    Ok(()) => taken += piece,
                    Err(Errno::NOSPC) => break,
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
        }
        Ok(taken)
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> Result<u64> {
        let state = rustix::fs::statvfs(&self.dir)?;
        Ok(state.f_bavail * state.f_frsize)
    }

    /// Takes [`Self::fill`] back.
    pub(crate) fn clear(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("clear the disk")
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_own()
            && let Ok(dir) = text(&self.dir)
        {
            let _ = run("umount", &["-l", dir]);
        }
    }
}
