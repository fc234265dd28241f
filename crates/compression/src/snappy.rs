//! Snappy: raw blocks, alone or in the framing of the xerial library that Kafka's Java clients
//! use.
//!
//! xerial: 8 bytes magic, version and lowest compatible version (u32 each), then chunks of a
//! length (u32) and a raw block. All numbers big-endian.

use bytes::Bytes;
use quipu_types::record::Codec;
use snap::raw::{Decoder, Encoder, decompress_len};

use super::output::Output;
use super::{CompressError, DecompressError};

const CODEC: Codec = Codec::Snappy;
const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// What the Java clients put into a chunk.
const CHUNK_BYTES: usize = 32 << 10;
/// No element of a raw block makes more bytes of one: a copy of 64 bytes takes 3.
const EXPANSION_MAX: usize = 22;

pub(super) fn compress(plain: &[u8]) -> Result<Bytes, CompressError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    for chunk in plain.chunks(CHUNK_BYTES) {
        let block = encoder.compress_vec(chunk).map_err(|error| CompressError {
            codec: CODEC,
            bytes: plain.len(),
            reason: error.to_string(),
        })?;
        let length = u32::try_from(block.len()).expect("a block of 32 KiB stays far below 4 GiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(Bytes::from(out))
}

pub(super) fn decompress(stream: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    let mut output = Output::new(0, limit);
    if stream.starts_with(&MAGIC) {
        for block in chunks(stream)? {
            raw(block?, &mut output, limit)?;
        }
    } else if stream.is_empty() {
        return Err(DecompressError::Truncated { codec: CODEC });
    } else {
        raw(stream, &mut output, limit)?;
    }
    Ok(output.finish())
}

type Chunk<'a> = Result<&'a [u8], DecompressError>;

/// The raw blocks of a xerial stream.
fn chunks(stream: &[u8]) -> Result<impl Iterator<Item = Chunk<'_>>, DecompressError> {
    let cut = DecompressError::Truncated { codec: CODEC };
    let Some((header, mut rest)) = stream.split_at_checked(HEADER_BYTES) else {
        return Err(cut);
    };
    let compatible = u32::from_be_bytes(header[12..].try_into().expect("four bytes"));
    if compatible > VERSION {
        let reason = format!("needs a reader of xerial version {compatible}");
        return Err(DecompressError::Corrupt { codec: CODEC, reason });
    }
    Ok(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((block, after)) = split_chunk(rest) else {
            rest = &[];
            return Some(Err(cut.clone()));
        };
        rest = after;
        Some(Ok(block))
    }))
}

fn split_chunk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn raw(block: &[u8], output: &mut Output, limit: usize) -> Result<(), DecompressError> {
    let corrupt =
        |error: snap::Error| DecompressError::Corrupt { codec: CODEC, reason: error.to_string() };
    let declared = decompress_len(block).map_err(corrupt)?;
    if declared > output.room() {
        return Err(DecompressError::TooLarge { codec: CODEC, limit });
    }
    if declared > block.len().saturating_mul(EXPANSION_MAX) {
        let reason = format!("block of {} bytes declares {declared}", block.len());
        return Err(DecompressError::Corrupt { codec: CODEC, reason });
    }
    let (_, fresh) = output.grow(declared).expect("the room was checked");
    Decoder::new().decompress(block, fresh).map(drop).map_err(corrupt)
}
