//! Metadata on several nodes in one process: real sockets, journals and tables.

#![expect(clippy::unwrap_used, reason = "tests")]

mod idle;
mod node;
mod scenarios;
