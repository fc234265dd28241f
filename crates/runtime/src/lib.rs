//! Who owns tasks and time.
//!
//! - Tasks start only through a [`TaskGroup`], so that a dead task is noticed: either it stops the
//!   node ([`OnExit::StopNode`]) or it is logged.
//! - Time and chance are parameters ([`Clock`], [`Rng`]), so that a simulator can replay a seed.
//! - Must not know: what the tasks do.
//! - Start reading at [`task_group`].

mod blocking;
mod clock;
mod deadline;
mod fatal;
mod ports;
mod rng;
pub mod task_group;

pub use blocking::{Undone, run_blocking};
pub use clock::Clock;
pub use deadline::{Deadline, DeadlinePassed};
pub use fatal::{Fatal, FatalReceiver};
pub use ports::free_ports;
pub use rng::Rng;
pub use task_group::{OnExit, TaskGroup};
