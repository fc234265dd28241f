//! What happened, line by line; the format is described in `HISTORY.md`.

mod call;
mod event;
mod observation;
mod outcome;
mod partition;
mod reader;
mod recorder;
mod start;
mod writer;

pub use call::{Acks, Call, Membership, Stamp, Starts, Value};
pub use event::{Event, Line};
pub use observation::{
    Fault, LeaderSeen, Owned, Phase, ReplicaSeen, SizeSeen, Stage, TopicSettings, TrimCause,
    Trimmed,
};
pub use outcome::{Batch, Effect, Failure, Outcome, Polled};
pub use partition::{InvalidPartition, Partition};
pub use reader::{LINE_BYTES_MAX, ReadError, Reader};
pub use recorder::{Recorder, Recording, Session};
pub use start::{Expectation, Limits, Start, VERSION};
pub use writer::Writer;
