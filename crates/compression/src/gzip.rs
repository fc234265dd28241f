//! gzip (RFC 1952), one member or several in a row.

use std::io::{ErrorKind, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use quipu_types::record::Codec;

use super::output::Output;
use super::{CompressError, DecompressError};

const CODEC: Codec = Codec::Gzip;
/// Identification bytes and the method "deflate".
const MAGIC: [u8; 3] = [0x1F, 0x8B, 0x08];
/// Bytes decompressed at a time.
const CHUNK_BYTES: usize = 32 << 10;

pub(super) fn compress(plain: &[u8]) -> Result<Bytes, CompressError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::default());
    encoder.write_all(plain).and_then(|()| encoder.finish()).map(Bytes::from).map_err(|error| {
        CompressError { codec: CODEC, bytes: plain.len(), reason: error.to_string() }
    })
}

pub(super) fn decompress(stream: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    check_magic(stream)?;
    let mut decoder = MultiGzDecoder::new(stream);
    let mut output = Output::new(stream.len().saturating_mul(3), limit);
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => return Ok(output.finish()),
            Ok(length) => output
                .extend(&chunk[..length])
                .map_err(|_| DecompressError::TooLarge { codec: CODEC, limit })?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(DecompressError::Truncated { codec: CODEC });
            }
            Err(error) => {
                return Err(DecompressError::Corrupt { codec: CODEC, reason: error.to_string() });
            }
        }
    }
}

fn check_magic(stream: &[u8]) -> Result<(), DecompressError> {
    let length = stream.len().min(MAGIC.len());
    if stream[..length] != MAGIC[..length] {
        Err(DecompressError::WrongFormat { codec: CODEC })
    } else if length < MAGIC.len() {
        Err(DecompressError::Truncated { codec: CODEC })
    } else {
        Ok(())
    }
}
