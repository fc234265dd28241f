//! Named places in the code where a test may end the process or bend what it does.
//!
//! A *point* lies at an edge of durability: between a write and its flush, a rename and the flush
//! of its folder, a commit and its answer. Armed with `crash`, the process kills itself there
//! (SIGKILL: nothing unwinds, nothing is flushed), and a test looks at what a restart makes of it.
//! A *plant* is a defect put into the product on purpose: a suite that does not find it proves
//! nothing.
//!
//! A *bend* makes a node pass for another, for example for one of the next release.
//!
//! - Without the feature `failpoints` all cost nothing and cannot be armed. Releases are built so.
//! - Every name stands in a table ([`POINTS`], [`PLANTS`], [`BENDS`]) and in the code; a test compares the two.
//! - Names say room and edge: `journal.flush.before`.
//! - Must not know: what happens at the places. It is the only door to the crate `fail`.
//! - Start reading at [`hit`].

mod arm;
mod bends;
mod plants;
mod points;
mod reach;

pub use arm::{ArmError, VARIABLE, arm};
pub use bends::BENDS;
pub use plants::{Finder, Nodes, PLANTS, Plant};
pub use points::POINTS;
pub use reach::{hit, hold, is_bent, is_planted};

/// Whether this build has failpoints.
pub const IS_BUILT_IN: bool = cfg!(feature = "failpoints");
