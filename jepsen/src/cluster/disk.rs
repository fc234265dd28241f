//! What a node keeps its data on: a plain directory, or a small file system of its own, with or
//! without a layer over it that forgets and fails.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::command::{run, text};
use super::layer::Layer;

/// Size of a file system; the file that holds it is sparse.
const IMAGE_BYTES: u64 = 2 << 30;
/// Pieces in which a disk is filled, down to single blocks.
const FILLER_BYTES: [u64; 3] = [64 << 20, 1 << 20, 4 << 10];

/// What a node keeps its data on.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    own: Option<Own>,
    // Before the file system that it is over.
    layer: Option<Layer>,
}

/// A file system of its own.
#[derive(Debug)]
struct Own {
    image: PathBuf,
    /// Where it is mounted: the node's directory, or what is below the layer over it.
    mounted: PathBuf,
}

impl Disk {
    /// A directory.
    pub(crate) fn plain(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), own: None, layer: None })
    }

    /// An ext4 file system in a file below `home`, seen through a layer if wanted.
    pub(crate) fn mounted(home: &Path, has_layer: bool) -> Result<Self> {
        let (dir, image) = (home.join("disk"), home.join("image"));
        let mounted = if has_layer { home.join("below") } else { dir.clone() };
        std::fs::create_dir_all(&dir)?;
        std::fs::create_dir_all(&mounted)?;
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        // Without blocks kept for root, so that full is full.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)?])?;
        let own = Own { image, mounted };
        own.mount()?;
        let mut disk = Self { dir, own: Some(own), layer: None };
        if has_layer {
            disk.layer = Some(Layer::over(&disk.own()?.mounted, &disk.dir)?);
        }
        Ok(disk)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The layer that forgets and fails.
    pub(crate) fn layer(&self) -> Result<&Layer> {
        self.layer.as_ref().context("the disk has no layer")
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("the disk is a plain directory")
    }

    /// Notes what the disk holds at this moment: what was not flushed is not in it.
    pub(crate) fn copy(&self) -> Result<PathBuf> {
        let image = &self.own()?.image;
        let copy = image.with_extension("copy");
        run("cp", &["--sparse=always", text(image)?, text(&copy)?])?;
        Ok(copy)
    }

    /// Goes on with a copy, as after a power loss when it was taken. Nobody may use the disk.
    pub(crate) fn replace(&self, copy: &Path) -> Result<()> {
        let own = self.own()?;
        self.layer.as_ref().map_or(Ok(()), Layer::unmount)?;
        run("umount", &[text(&own.mounted)?])?;
        std::fs::rename(copy, &own.image)?;
        own.mount()?;
        self.layer.as_ref().map_or(Ok(()), Layer::mount)
    }

    /// Leaves no byte free; gives how many were taken.
    pub(crate) fn fill(&self) -> Result<u64> {
        let filler = File::create(self.filler()?)?;
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
        std::fs::remove_file(self.filler()?).context("clear the disk")
    }

    fn filler(&self) -> Result<PathBuf> {
        Ok(self.own()?.mounted.join("filler"))
    }
}

impl Own {
    fn mount(&self) -> Result<()> {
        run("mount", &["-o", "loop", text(&self.image)?, text(&self.mounted)?]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.layer.take());
        if let Some(own) = &self.own
            && let Ok(dir) = text(&own.mounted)
        {
            let _ = run("umount", &["-l", dir]);
        }
    }
}
