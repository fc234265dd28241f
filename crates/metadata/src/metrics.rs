//! The metrics of metadata.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use quipu_types::MetadataVersion;

const CONTROLLER_IS_LEADER: &str = "quipu_controller_is_leader";
const CLUSTER_NODES: &str = "quipu_cluster_nodes";
const QUARANTINES: &str = "quipu_node_quarantines_total";
const REBUILDING: &str = "quipu_node_rebuilding";
const METADATA_VERSION: &str = "quipu_metadata_version";

/// Explains the metrics to whoever scrapes them.
pub fn describe() {
    describe_gauge!(
        CONTROLLER_IS_LEADER,
        "1 on the node that leads the metadata group, else 0; the sum over all nodes is 1"
    );
    describe_gauge!(
        CLUSTER_NODES,
        "Registered nodes by state as this node sees them: alive, or silent"
    );
    describe_gauge!(
        METADATA_VERSION,
        Unit::Count,
        "Log index of the last change of metadata that this node has applied"
    );
    describe_counter!(
        QUARANTINES,
        Unit::Count,
        "Times this process moved the node's data aside, because its journal was damaged"
    );
    counter!(QUARANTINES).increment(0);
    describe_gauge!(
        REBUILDING,
        Unit::Count,
        "Replicas of this node that are still to take the place of those it lost"
    );
}

/// Whether this node is the controller.
pub(crate) fn controller_is_leader(is_leader: bool) {
    gauge!(CONTROLLER_IS_LEADER).set(if is_leader { 1.0 } else { 0.0 });
}

/// How many nodes are there, and how many of them are heard.
pub(crate) fn cluster_nodes(alive: usize, silent: usize) {
    gauge!(CLUSTER_NODES, "state" => "alive").set(float(alive));
    gauge!(CLUSTER_NODES, "state" => "silent").set(float(silent));
}

/// The node's old data is in the quarantine.
pub(crate) fn node_quarantined() {
    counter!(QUARANTINES).increment(1);
}

/// How many replicas are still to take the place of others.
pub(crate) fn rebuilding(left: usize) {
    gauge!(REBUILDING).set(float(left));
}

/// The version of the published image.
pub(crate) fn version(version: MetadataVersion) {
    // Exact up to 2^53; nobody makes that many changes.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!(METADATA_VERSION).set(version.get() as f64);
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
