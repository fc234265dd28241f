//! For tests only: clusters of real `quipu serve` processes on loopback.
//!
//! - Every process is started here and ended by its own pid; a dropped [`Cluster`] leaves none.
//! - Nothing waits for time to pass: [`until()`] polls a condition up to a deadline and says what it
//!   waited for.
//! - Start reading at [`Cluster`], then [`Ledger`].

mod cluster;
pub mod dataset;
pub mod document;
pub mod failpoints;
mod ledger;
pub mod metrics;
mod network;
mod node;
pub mod replicas;
pub mod signal;
mod until;

pub use cluster::{Cluster, ClusterOptions};
pub use ledger::{Ledger, Verdict, read_all};
pub use network::Network;
pub use node::{NodeProcess, failpoints_of, quipu_binary};
pub use until::until;
