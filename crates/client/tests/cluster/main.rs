//! The client against servers that live in this process and do as they are told.

mod fake;
mod producing;
mod reading;
mod talking;
