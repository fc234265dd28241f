//! Every way to let a node pass for another.

/// Every name that [`is_bent`](crate::is_bent) is called with, in order.
pub const BENDS: &[&str] = &["bend.level.next"];
