//! Foreign and damaged bytes against every reader of them.
//!
//! A [`Target`] is one function that takes bytes and panics when a promise is broken: no panic of
//! the product, no more memory than the input justifies, what is read is written again the same,
//! what is recovered was written. `cargo test -p quipu-fuzz` runs each target over its corpus and a
//! few thousand seeded mutations of it; the program `quipu-fuzz` goes on for as long as it is told.
//!
//! - Must not know: sockets, real files. Disks and tables are in memory.
//! - Invariants: a target gives the same answer for the same bytes; a seed gives the same inputs.
//! - Start reading at [`TARGETS`], then `targets/`, one file each.

mod corpus;
mod hunt;
mod input;
mod mutator;
mod panics;
mod reseal;
mod samples;
mod shrink;
mod target;
mod targets;

pub use corpus::{corpus_dir, load, write_seeds};
pub use hunt::{Finding, Hunt, Watch, hunt};
pub use mutator::Mutator;
pub use panics::caught;
pub use shrink::shrink;
pub use target::{Seed, TARGETS, Target, Verdict, find};
