//! LZ4 frames. Written as Kafka's Java client reads them: independent blocks of 64 KiB, no
//! checksums, no content size.
//!
//! Frames are read here rather than by the library's reader, which takes a frame without an end
//! mark, or with an empty block, for a finished one. Its checksums are passed over: the batch's
//! own covers every byte.

use std::io::Write;

use bytes::Bytes;
use lz4_flex::block::DecompressError as BlockError;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use quipu_types::record::Codec;

use super::output::Output;
use super::{CompressError, DecompressError};

const CODEC: Codec = Codec::Lz4;
const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 << 10;
/// Top bit of a block's size: the block is stored as it is.
const STORED: u32 = 1 << 31;

pub(super) fn compress(plain: &[u8]) -> Result<Bytes, CompressError> {
    let failed = |reason: String| CompressError { codec: CODEC, bytes: plain.len(), reason };
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(plain.len() / 2));
    encoder.write_all(plain).map_err(|error| failed(error.to_string()))?;
    encoder.finish().map(Bytes::from).map_err(|error| failed(error.to_string()))
}

pub(super) fn decompress(stream: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    let mut input = Input(stream);
    let frame = Frame::read(&mut input)?;
    if frame.content_bytes.is_some_and(|bytes| bytes > limit as u64) {
        return Err(DecompressError::TooLarge { codec: CODEC, limit });
    }
    let mut output = Output::new(stream.len().saturating_mul(3), limit);
    while frame.read_block(&mut input, &mut output, limit)? {}
    if frame.has_content_checksum {
        input.take(4)?;
    }
    if frame.content_bytes.is_some_and(|bytes| bytes != output.len() as u64) {
        return Err(corrupt("content size is not what the blocks hold"));
    }
    match input.0.len() {
        0 => Ok(output.finish()),
        trailing => Err(DecompressError::TrailingBytes { codec: CODEC, trailing }),
    }
}

/// The frame's descriptor.
#[derive(Debug)]
struct Frame {
    is_linked: bool,
    has_block_checksums: bool,
    has_content_checksum: bool,
    content_bytes: Option<u64>,
    block_bytes_max: usize,
}

impl Frame {
    fn read(input: &mut Input<'_>) -> Result<Self, DecompressError> {
        let length = input.0.len().min(MAGIC.len());
        if input.take(length)? != &MAGIC[..length] {
            return Err(DecompressError::WrongFormat { codec: CODEC });
        }
        let [flags, block] = input.array()?;
        if flags >> 6 != 1 {
            return Err(corrupt("frame version is not 1"));
        }
        if flags & 0x02 != 0 || block & 0x8F != 0 {
            return Err(corrupt("reserved bits are set"));
        }
        if flags & 0x01 != 0 {
            return Err(DecompressError::Dictionary { codec: CODEC });
        }
        let has_content_size = flags & 0x08 != 0;
        let frame = Self {
            is_linked: flags & 0x20 == 0,
            has_block_checksums: flags & 0x10 != 0,
            has_content_checksum: flags & 0x04 != 0,
            content_bytes: has_content_size
                .then(|| input.array().map(u64::from_le_bytes))
                .transpose()?,
            block_bytes_max: block_bytes(block >> 4)?,
        };
        input.take(1)?; // Header checksum.
        Ok(frame)
    }

    /// Reads one block; says whether it was one, not the end mark.
    fn read_block(
        &self,
        input: &mut Input<'_>,
        output: &mut Output,
        limit: usize,
    ) -> Result<bool, DecompressError> {
        let size = u32::from_le_bytes(input.array()?);
        if size == 0 {
            return Ok(false);
        }
        let length = usize::try_from(size & !STORED).expect("31 bits fit in usize");
        if length > self.block_bytes_max {
            return Err(corrupt("block is larger than the frame allows"));
        }
        let block = input.take(length)?;
        if size & STORED == 0 {
            self.decompress_block(block, output, limit)?;
        } else {
            output.extend(block).map_err(|_| DecompressError::TooLarge { codec: CODEC, limit })?;
        }
        if self.has_block_checksums {
            input.take(4)?;
        }
        Ok(true)
    }

    fn decompress_block(
        &self,
        block: &[u8],
        output: &mut Output,
        limit: usize,
    ) -> Result<(), DecompressError> {
        let start = output.len();
        let room = self.block_bytes_max.min(output.room());
        let (before, fresh) = output.grow(room).expect("bounded by the room");
        let result = if self.is_linked {
            let window = &before[start.saturating_sub(WINDOW_BYTES)..];
            lz4_flex::block::decompress_into_with_dict(block, fresh, window)
        } else {
            lz4_flex::block::decompress_into(block, fresh)
        };
        match result {
            Ok(length) => {
                output.truncate(start + length);
                Ok(())
            }
            Err(BlockError::OutputTooSmall { .. }) if room < self.block_bytes_max => {
                Err(DecompressError::TooLarge { codec: CODEC, limit })
            }
            Err(error) => Err(corrupt(&error.to_string())),
        }
    }
}

/// Largest block of the descriptor's size code.
fn block_bytes(code: u8) -> Result<usize, DecompressError> {
    match code {
        4 => Ok(64 << 10),
        5 => Ok(256 << 10),
        6 => Ok(1 << 20),
        7 => Ok(4 << 20),
        _ => Err(corrupt("block size code is unknown")),
    }
}

/// What is left of the stream.
#[derive(Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecompressError> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(DecompressError::Truncated { codec: CODEC })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecompressError> {
        self.take(N).map(|bytes| bytes.try_into().expect("N bytes were taken"))
    }
}

fn corrupt(reason: &str) -> DecompressError {
    DecompressError::Corrupt { codec: CODEC, reason: reason.to_owned() }
}
