//! Three nodes on loopback, with real connections and real journals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

mod cluster;
mod failover;
mod gate;
mod identity;
mod ledger;
mod node;
mod replication;
mod restart;
