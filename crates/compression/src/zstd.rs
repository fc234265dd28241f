//! Zstandard (RFC 8878).
//!
//! Streams are read in one call, straight into the result: it serves as the window, so a frame's
//! declared window size (up to 2 GiB) never leads to an allocation.

use bytes::Bytes;
use quipu_types::record::Codec;
use zstd::zstd_safe::{self, DCtx, get_error_name, get_frame_content_size};

use super::output::shrunk;
use super::{CompressError, DecompressError};

const CODEC: Codec = Codec::Zstd;
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const LEVEL: i32 = 3;
/// First allocation for a frame that does not declare its size.
const CAPACITY_MIN: usize = 64 << 10;

pub(super) fn compress(plain: &[u8]) -> Result<Bytes, CompressError> {
    zstd::bulk::compress(plain, LEVEL).map(Bytes::from).map_err(|error| CompressError {
        codec: CODEC,
        bytes: plain.len(),
        reason: error.to_string(),
    })
}

pub(super) fn decompress(stream: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    let mut capacity = first_capacity(stream, limit)?;
    let mut context = DCtx::try_create().ok_or_else(|| DecompressError::Corrupt {
        codec: CODEC,
        reason: "no memory for a decoder".to_owned(),
    })?;
    loop {
        let mut output = Vec::with_capacity(capacity);
        match context.decompress(&mut output, stream) {
            Ok(_) => return Ok(shrunk(output)),
            Err(code) if Failure::of(code) == Failure::OutputTooSmall && capacity < limit => {
                capacity = capacity.saturating_mul(4).max(CAPACITY_MIN).min(limit);
            }
            Err(code) => return Err(refusal(code, limit)),
        }
    }
}

/// What the first frame declares, or a guess: a wrong one is tried again with more.
fn first_capacity(stream: &[u8], limit: usize) -> Result<usize, DecompressError> {
    let length = stream.len().min(MAGIC.len());
    if stream[..length] != MAGIC[..length] {
        return Err(DecompressError::WrongFormat { codec: CODEC });
    }
    if zstd_safe::get_dict_id_from_frame(stream).is_some() {
        return Err(DecompressError::Dictionary { codec: CODEC });
    }
    match get_frame_content_size(stream) {
        Err(_) => Err(DecompressError::Truncated { codec: CODEC }),
        Ok(Some(declared)) => usize::try_from(declared)
            .ok()
            .filter(|declared| *declared <= limit)
            .ok_or(DecompressError::TooLarge { codec: CODEC, limit }),
        Ok(None) => Ok(stream.len().saturating_mul(8).max(CAPACITY_MIN).min(limit)),
    }
}

/// The library's error codes that are told apart (`zstd_errors.h`, stable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Dictionary,
    OutputTooSmall,
    InputCut,
    Other,
}

impl Failure {
    /// Codes come as negative numbers in a `usize`.
    const fn of(code: usize) -> Self {
        match code.wrapping_neg() {
            30 | 32 => Self::Dictionary,
            70 => Self::OutputTooSmall,
            72 => Self::InputCut,
            _ => Self::Other,
        }
    }
}

fn refusal(code: usize, limit: usize) -> DecompressError {
    match Failure::of(code) {
        Failure::Dictionary => DecompressError::Dictionary { codec: CODEC },
        Failure::OutputTooSmall => DecompressError::TooLarge { codec: CODEC, limit },
        Failure::InputCut => DecompressError::Truncated { codec: CODEC },
        Failure::Other => {
            DecompressError::Corrupt { codec: CODEC, reason: get_error_name(code).to_owned() }
        }
    }
}
