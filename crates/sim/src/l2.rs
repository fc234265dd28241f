//! Clients of a cluster under a seed: what producers and members of groups are promised while
//! nodes fail and old records go (RELIABILITY §4.3, layer L2).
//!
//! It stands on L1: the same nodes, disks, network and faults, the same model that every replica is
//! compared with. Each node has the real broker on top: producing with its bundler, fetching,
//! coordination of groups with sessions and expiry, retention, deletion of records.
//!
//! - What is real of the clients: the producer's queue, which decides what is sent when and under
//!   which sequence, and the tracker that decides what a member may commit
//!   (`quipu_client::sim`). The tasks around them are bound to sockets, so `producer` and `member`
//!   do what those tasks do, written a second time: streams and their loss, redirects, heartbeats,
//!   revocation, one commit at a time, the session's end by the member's own clock. So does
//!   `stream` for the listener's side. gRPC and the codecs are not there.
//! - What is fixed: the metadata. Every node has the same image from the start, and producer ids
//!   come from the simulator.
//! - What is checked, by `books` and `rules`, as each command is applied for the first time and as
//!   each client is answered: what was acknowledged is at its offset, once; whatever is stored is in
//!   the order of its producer, also what was given up and came late; reads show the log and no hole; epochs rise; a partition changes hands only when its
//!   owner let it go or is gone; commits come from owners, never go back and never pass a record
//!   that nobody handled; what was acknowledged as committed is found again; only what may go goes.
//!   In the end everything is read and committed, whatever happened before.
//! - A wall clock that is wrong since the start of its process is believed by retention, as
//!   documented there: here clocks jump while processes run.
//! - Start reading at [`run_seed`], then `world.rs`, then `rules.rs`.

mod books;
mod call;
mod floor;
mod link;
mod member;
mod onlooker;
mod plan;
mod plant;
mod producer;
mod rules;
mod run;
mod seat;
mod stream;
mod trouble;
mod world;

pub use crate::l1::{Census, Event};
pub(crate) use floor::Floor;
pub use plant::Plant;
pub use run::{run_seed, run_seeds};
pub(crate) use world::World;
