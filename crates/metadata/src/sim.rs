//! Metadata that nobody replicates: the door for simulators.

use std::sync::Arc;

use quipu_consensus::Consensus;
use quipu_runtime::Clock;

use crate::replica::Images;
use crate::{Image, Metadata};

/// A handle that shows one image for ever. Nobody leads its group: changes find no leader.
#[must_use]
pub fn fixed(image: Image, consensus: Arc<Consensus>, clock: Clock) -> Metadata {
    Metadata::new(Images::new(image), consensus, clock)
}
