//! The client against servers that live in this process and do as they are told.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod consuming;
mod consuming_handlers;
mod consuming_sessions;
mod fake;
mod groups;
mod growing;
mod producing;
mod reading;
mod talking;
