//! The four codecs of a record batch.
//!
//! Clients compress and decompress; servers pass the bytes on (D1), but for compacted topics: there
//! they look for keys, and remove records.
//!
//! - Must not know: topics, files, sockets.
//! - Invariant: decompression never makes more bytes than its limit, whatever a stream declares
//!   about itself. A bomb costs its limit and no more.

use bytes::Bytes;
use quipu_types::limits::DECOMPRESSED_BYTES_MAX;
use quipu_types::record::{BatchBuilder, Codec, RecordsIter, ValidatedBatch};

mod error;
mod gzip;
mod lz4;
mod output;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

pub use error::{CompressError, DecompressError};

/// Compresses `plain` with `codec`.
///
/// # Errors
/// [`CompressError`] when the codec has no memory or refuses the size.
pub fn compress(codec: Codec, plain: &[u8]) -> Result<Bytes, CompressError> {
    match codec {
        Codec::None => Ok(Bytes::copy_from_slice(plain)),
        Codec::Gzip => gzip::compress(plain),
        Codec::Snappy => snappy::compress(plain),
        Codec::Lz4 => lz4::compress(plain),
        Codec::Zstd => zstd::compress(plain),
    }
}

/// Decompresses a whole stream of `codec`, to at most `bytes_max` bytes.
///
/// - Units: [`DECOMPRESSED_BYTES_MAX`] holds where `bytes_max` is larger.
/// - Plain bytes come back shared, not copied.
///
/// # Errors
/// [`DecompressError`]: a stream that is too large, cut, damaged, of another codec or followed by
/// other bytes.
pub fn decompress(
    codec: Codec,
    stream: &Bytes,
    bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    let bytes_max = bytes_max.min(DECOMPRESSED_BYTES_MAX);
    match codec {
        Codec::None if stream.len() > bytes_max => {
            Err(DecompressError::TooLarge { codec, limit: bytes_max })
        }
        Codec::None => Ok(stream.clone()),
        Codec::Gzip => gzip::decompress(stream, bytes_max),
        Codec::Snappy => snappy::decompress(stream, bytes_max),
        Codec::Lz4 => lz4::decompress(stream, bytes_max),
        Codec::Zstd => zstd::decompress(stream, bytes_max),
    }
}

/// Finishes a batch with `codec`. It stays plain where compression would not make it smaller.
///
/// # Errors
/// As [`compress`].
///
/// # Panics
/// When `builder` is empty.
pub fn finish(builder: BatchBuilder, codec: Codec) -> Result<ValidatedBatch, CompressError> {
    builder.finish(codec, |plain| compress(codec, plain))
}

/// The records of a batch, whatever its codec; at most `bytes_max` bytes of them.
///
/// # Errors
/// As [`decompress`]; damage inside the records comes from the iterator.
pub fn records(batch: &ValidatedBatch, bytes_max: usize) -> Result<RecordsIter, DecompressError> {
    let section = decompress(batch.codec(), &batch.section(), bytes_max)?;
    Ok(batch.records_of(section))
}
