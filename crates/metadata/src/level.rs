//! The format levels of this node ([`quipu_types::LEVEL`] says what a level is).
//!
//! Every node announces its range when it registers, and the metadata group refuses one that does
//! not hold the level the cluster is finalized at. A node notes that level in its `VERSION` file,
//! so that an older release refuses the directory before it reads anything else; formats of a
//! level are written only once it stands there.

use quipu_runtime::OnExit;
use quipu_runtime::TaskGroup;
use quipu_types::{FormatLevel, LevelRange};

use crate::handle::Metadata;
use crate::identity::Identity;

/// What this node reads and writes. Tests let a node pass for one of the next release.
#[must_use]
pub fn own() -> LevelRange {
    let own = LevelRange::OWN;
    if quipu_failpoint::is_bent("bend.level.next") {
        return LevelRange { max: own.max.next(), ..own };
    }
    own
}

/// Notes what the cluster is finalized at, from now on.
pub(crate) fn spawn_keeper(identity: Identity, metadata: &Metadata, tasks: &TaskGroup) {
    let mut images = metadata.watch();
    let fatal = tasks.fatal().clone();
    tasks.spawn("format-level", OnExit::StopNode, async move {
        loop {
            let level = images.borrow_and_update().level;
            if let Err(reason) = note(&identity, level).await {
                return fatal.stop_node(reason);
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    });
}

async fn note(identity: &Identity, level: FormatLevel) -> Result<(), String> {
    if level <= identity.level() {
        return Ok(());
    }
    let identity = identity.clone();
    let noted = tokio::task::spawn_blocking(move || identity.note_level(level)).await;
    match noted {
        Ok(Ok(())) => {
            tracing::info!(%level, "the cluster is finalized at a format level");
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        // The node is shutting down.
        Err(_) => Ok(()),
    }
}
