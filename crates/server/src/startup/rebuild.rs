//! A node that cannot open its journal: whether the others can feed it, and the way there.

use anyhow::anyhow;
use quipu_metadata::identity::Rebuild;
use quipu_metadata::rebuild::{NotRebuilt, Petition};
use quipu_metadata::{Identity, IdentityError, Images};
use quipu_runtime::{Clock, TaskGroup};
use quipu_types::{ByteCount, ReplicaId};

use crate::config::{Config, Quarantine};
use crate::progress::StartProgress;

/// A node and why it has lost what it promised. It has opened nothing but its identity.
pub(super) struct Lost<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a Clock,
    pub(super) tasks: &'a TaskGroup,
    pub(super) identity: &'a Identity,
    pub(super) why: &'a str,
}

impl Lost<'_> {
    /// Gets other replicas for the node; its data moves when it is opened next.
    pub(super) async fn rebuild(&self, progress: &StartProgress) -> anyhow::Result<()> {
        tracing::error!(
            why = self.why,
            "this node may have forgotten votes and records: it opens nothing"
        );
        if self.config.storage.quarantine == Quarantine::Refuse {
            return Err(self.refused("storage.quarantine is refuse (auto: from the other nodes)"));
        }
        if !self.identity.is_member() {
            return Err(self.refused("it belongs to no cluster yet"));
        }
        self.check_room().await?;
        progress.enter("asking the cluster for other replicas: the journal is damaged");
        let tasks = self.tasks.child("rebuild");
        let replica = self.petition(&tasks).await;
        tasks.cancel();
        let replica = replica?;
        tracing::warn!(%replica, "this node begins anew, with other replicas");
        let folder = self.folder()?;
        let why = self.why.to_owned();
        self.blocking(move |identity| identity.note_granted(replica, folder, &why)).await
    }

    async fn petition(&self, tasks: &TaskGroup) -> anyhow::Result<ReplicaId> {
        let images = Images::default();
        let consensus = super::consensus(self.config, self.clock, tasks, (self.identity, &images));
        let bootstrap = &self.config.cluster.bootstrap;
        let identity = self.identity.clone();
        let petition = Petition::new(identity, consensus.clone(), self.clock.clone(), bootstrap);
        let given = match petition {
            Ok(petition) => self.ask(&petition).await,
            Err(refused) => Err(self.not_rebuilt(&refused)),
        };
        consensus.shutdown().await;
        given
    }

    /// Asks first, and writes down that it asks in earnest before it does.
    async fn ask(&self, petition: &Petition) -> anyhow::Result<ReplicaId> {
        if self.identity.rebuild() != Some(Rebuild::Asking) {
            petition.could().await.map_err(|refused| self.not_rebuilt(&refused))?;
            self.blocking(Identity::note_asking).await?;
        }
        petition.get().await.map_err(|refused| self.not_rebuilt(&refused))
    }

    /// What is fetched needs room beside what is kept for a look.
    async fn check_room(&self) -> anyhow::Result<()> {
        let needed = self.blocking(Identity::bytes_to_fetch).await?;
        let needed = needed.get().saturating_add(self.config.storage.min_free);
        let free = quipu_disk::real().free_space(&self.config.node.data_dir)?.free;
        if free >= needed {
            return Ok(());
        }
        let (needed, free) = (ByteCount::new(needed), ByteCount::new(free));
        let why = format!(
            "the disk has {free} free, and {needed} are needed beside the old data: make room, for \
             one by removing folders of quarantine/"
        );
        Err(self.refused(&why))
    }

    /// No other start has this name.
    fn folder(&self) -> anyhow::Result<String> {
        let now = jiff::Timestamp::from_millisecond(self.clock.wall_ms())?;
        let start = self.identity.incarnation();
        Ok(format!("{}-start-{start}", now.strftime("%Y-%m-%dT%H-%M-%SZ")))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Identity) -> Result<T, IdentityError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let identity = self.identity.clone();
        Ok(tokio::task::spawn_blocking(move || work(&identity)).await??)
    }

    fn not_rebuilt(&self, refused: &NotRebuilt) -> anyhow::Error {
        self.refused(&refused.to_string())
    }

    fn refused(&self, why: &str) -> anyhow::Error {
        let (node, lost) = (self.identity.node(), self.why);
        anyhow!(
            "{lost}; this node is not rebuilt: {why}; nothing was moved: see to that and start it \
             again, restore this very directory, or, where the other nodes hold what it held, move \
             it away and use `quipu node replace {node}` on a running node"
        )
    }
}
