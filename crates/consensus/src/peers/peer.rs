//! One other node: the connection to it, and its signs of life.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use quipu_types::{Incarnation, NodeId};
use tokio::sync::Notify;

use crate::link::Link;
use crate::metrics::PeerMetrics;

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Whether this node has a connection to it.
    pub is_connected: bool,
    /// When it was last heard, on the node's monotonic clock; none if never.
    pub last_heard: Option<Duration>,
    /// The start of the peer that was last heard.
    pub incarnation: Option<Incarnation>,
    /// Why the peer turns this node away, in its words; none once it does not.
    pub rejected_by: Option<String>,
    /// Why this node turns the peer away; none once it does not.
    pub rejected: Option<String>,
}

/// One other node.
pub(crate) struct Peer {
    node: NodeId,
    link: RwLock<Option<Arc<Link>>>,
    health: Mutex<Health>,
    /// There is reason to dial at once.
    wake: Notify,
    metrics: PeerMetrics,
}

#[derive(Default)]
pub(super) struct Health {
    /// Streams that the peer opened to this node and that stand.
    pub(super) incoming: usize,
    pub(super) last_heard: Option<Duration>,
    incarnation: Option<Incarnation>,
    /// Nodes the peer itself hears no more.
    pub(super) lost: BTreeSet<NodeId>,
    pub(super) is_short_of_disk: bool,
    rejected_by: Option<String>,
    rejected: Option<String>,
}

impl Peer {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            link: RwLock::new(None),
            health: Mutex::default(),
            wake: Notify::new(),
            metrics: PeerMetrics::new(node),
        }
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) const fn metrics(&self) -> &PeerMetrics {
        &self.metrics
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to the peer, while it stands.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_link(&self, link: Option<Arc<Link>>) {
        self.metrics.connected.set(if link.is_some() { 1.0 } else { 0.0 });
        let old = {
            let mut held = self.link.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *held, link)
        };
        if let Some(old) = old {
            old.close();
        }
    }

    pub(super) fn was_heard(&self) -> bool {
        self.health().last_heard.is_some()
    }

    /// Something arrived from the peer.
    pub(crate) fn heard(&self, at: Duration) {
        self.health().last_heard = Some(at);
    }

    /// The peer is who it should be.
    pub(crate) fn met(&self, incarnation: Incarnation, at: Duration) {
        let mut health = self.health();
        health.incarnation = Some(incarnation);
        health.last_heard = Some(at);
        health.rejected = None;
    }

    pub(crate) fn set_rejected_by(&self, why: Option<String>) {
        self.health().rejected_by = why;
    }

    pub(crate) fn set_rejected(&self, why: Option<String>) {
        self.health().rejected = why;
    }

    pub(crate) fn opened(&self) {
        self.health().incoming += 1;
        self.wake.notify_one();
    }

    pub(crate) fn closed(&self) {
        let mut health = self.health();
        health.incoming -= 1;
        if health.incoming == 0 {
            health.lost.clear();
        }
    }

    /// Waits for a reason to dial before the pause is over.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn status(&self) -> PeerStatus {
        let health = self.health();
        PeerStatus {
            node: self.node,
            is_connected: self.link().is_some(),
            last_heard: health.last_heard,
            incarnation: health.incarnation,
            rejected_by: health.rejected_by.clone(),
            rejected: health.rejected.clone(),
        }
    }
}
