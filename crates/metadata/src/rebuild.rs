//! How a node that cannot read its journal comes back: its replicas may have forgotten votes and
//! acknowledged entries, so none of them may ever count again, and others take their places.
//!
//! The node opens nothing, and asks the others. They look, while it is silent, whether a majority
//! of every group it belongs to is there without it; if so, and if it still wants, the metadata
//! group replaces all its replicas at once. From then on the old ones are dead, whatever becomes of
//! the node. Only then its data moves aside ([`crate::identity::Rebuild`]); and it goes on as a node
//! whose replicas are all new, which the leaders feed like any that was moved there.
//!
//! What makes this safe:
//! - Old ids are never used again: replicas below the id the node was given are not opened by it,
//!   and the same id is its own in the metadata group.
//! - A majority was there that did not need the node; it has all that was ever acknowledged.
//! - Nothing moves before the ids are replaced, and what was written down of that is kept.

mod answer;
mod ask;
mod question;
mod watch;

pub(crate) use answer::answer;
pub use ask::{NotRebuilt, Petition};
pub(crate) use watch::{replicas_left, watch};
