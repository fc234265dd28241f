//! The wire contracts as Rust types, generated from `proto/*.proto`; beside them only
//! the checksum that messages between nodes carry.
//!
//! - `bytes` fields are [`bytes::Bytes`]: decoding a request does not copy its records.
//! - [`DESCRIPTORS`] feeds gRPC reflection.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    clippy::large_futures,
    reason = "generated code"
)]

mod checked;

pub use checked::{Checked, CheckedDecoder, CheckedEncoder};

/// `quipu.v1`: clients and tools.
pub mod v1 {
    tonic::include_proto!("quipu.v1");
}

/// `quipu.peer.v1`: between nodes.
pub mod peer {
    tonic::include_proto!("quipu.peer.v1");
}

/// All files of `proto/`, as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
