//! A file system that forgets: what a node wrote and did not flush can be lost, all of it or parts,
//! and operations can fail or take long.
//!
//! It passes everything through to a directory below and remembers how that looked when it was last
//! flushed, blocks and names apart. A name is flushed with its directory, as POSIX says and no more.

mod attributes;
mod filesystem;
mod tree;
mod trouble;
mod unflushed;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption, SessionACL, spawn_mount};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use filesystem::Passing;
use tree::Tree;
use trouble::Troubles;
pub(crate) use trouble::{Class, Operation, Trouble};
use unflushed::Unflushed;
pub(crate) use unflushed::{Loss, Lost};

/// Threads that answer: one that flushes must not stop the others.
const THREADS: usize = 4;

/// A layer over a directory. Dropping it takes it away.
#[derive(Debug)]
pub(crate) struct Layer {
    dir: PathBuf,
    shared: Arc<Shared>,
    session: Mutex<Option<BackgroundSession>>,
}

/// What the threads of a layer share.
#[derive(Debug)]
struct Shared {
    below: PathBuf,
    state: Mutex<State>,
    troubles: Troubles,
}

/// What is behind the numbers that the kernel knows, and what is not flushed.
#[derive(Debug)]
struct State {
    tree: Tree,
    unflushed: Unflushed,
}

impl State {
    fn new(below: &Path) -> Result<Self> {
        let unflushed = Unflushed::new(below)?;
        Ok(Self { tree: Tree::new(below), unflushed })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layer {
    /// Why there are no layers on this machine; none when there are.
    pub(crate) fn obstacle() -> Option<&'static str> {
        let has = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
        (!has).then_some("a disk that forgets needs root and /dev/fuse")
    }

    /// A layer at `dir` over the directory `below`.
    pub(crate) fn over(below: &Path, dir: &Path) -> Result<Self> {
        raise_files()?;
        let state = Mutex::new(State::new(below)?);
        let shared = Arc::new(Shared { below: below.into(), state, troubles: Troubles::default() });
        let layer = Self { dir: dir.into(), shared, session: Mutex::default() };
        layer.mount()?;
        Ok(layer)
    }

    /// Shows the directory below, which holds nothing that is not flushed.
    pub(crate) fn mount(&self) -> Result<()> {
        *self.shared.state() = State::new(&self.shared.below)?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("quipu-chaos".to_owned())];
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        let session = spawn_mount(Passing::new(self.shared.clone()), &self.dir, &config)
            .context("mount a disk that forgets")?;
        *self.session() = Some(session);
        Ok(())
    }

    /// Takes the layer away; what is below stays as it is. Nobody may use it.
    pub(crate) fn unmount(&self) -> Result<()> {
        self.detach()?;
        // Closes the files below.
        *self.shared.state() = State::new(&self.shared.below)?;
        Ok(())
    }

    /// Loses what is not flushed, as when power is lost. Nobody may use it.
    pub(crate) fn lose(&self, loss: Loss<'_>) -> Result<Lost> {
        self.detach()?;
        let lost = self.shared.state().unflushed.lose(loss).context("lose what is not flushed")?;
        self.mount()?;
        Ok(lost)
    }

    /// Lets operations fail or be slow from now on, or no more.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        self.shared.troubles.set(trouble);
    }

    /// How many operations failed or were slow since the last [`Self::trouble`].
    pub(crate) fn struck(&self) -> u64 {
        self.shared.troubles.struck()
    }

    /// Takes the layer out of sight, and waits until the last who has a file open is gone: a process
    /// that is being started may have one for a moment.
    fn detach(&self) -> Result<()> {
        let Some(session) = self.session().take() else { return Ok(()) };
        unmount(&self.dir, UnmountFlags::DETACH).context("unmount the layer")?;
        session.join().context("end the layer")
    }

    fn session(&self) -> MutexGuard<'_, Option<BackgroundSession>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let _ = self.detach();
    }
}

/// Every file that the kernel knows is open below.
fn raise_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("raise the limit of open files")
}

#[cfg(test)]
mod tests;
