//! How far the start has come, for the health routes.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use quipu_broker::Broker;

use crate::service_manager;

/// Shared between the start and the routes.
#[derive(Clone)]
pub(crate) struct StartProgress {
    phase: Arc<ArcSwap<String>>,
    broker: Arc<ArcSwapOption<Broker>>,
}

impl StartProgress {
    /// Nothing done yet.
    pub(crate) fn new() -> Self {
        Self {
            phase: Arc::new(ArcSwap::from_pointee("starting".to_owned())),
            broker: Arc::default(),
        }
    }

    /// Says what is being done.
    pub(crate) fn enter(&self, phase: &str) {
        tracing::info!(phase, "starting");
        service_manager::status(phase);
        self.phase.store(Arc::new(phase.to_owned()));
    }

    /// The broker serves.
    pub(crate) fn finish(&self, broker: Broker) {
        self.broker.store(Some(Arc::new(broker)));
        service_manager::status("serving");
    }

    /// What is being done.
    pub(crate) fn phase(&self) -> String {
        self.phase.load().as_ref().clone()
    }

    /// The broker, once it serves.
    pub(crate) fn broker(&self) -> Option<Arc<Broker>> {
        self.broker.load_full()
    }
}
