//! The record batch against hostile bytes, golden files, its document and a second codec.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_batches;
mod bad_records;
mod differential;
mod document;
mod golden;
mod properties;
mod sample;
