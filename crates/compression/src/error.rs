//! What can be wrong with compressed bytes.

use quipu_types::ErrorCode;
use quipu_types::record::Codec;

/// Why bytes cannot be compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compress {bytes} bytes with {codec}: {reason}")]
pub struct CompressError {
    /// The codec.
    pub codec: Codec,
    /// Bytes to be compressed.
    pub bytes: usize,
    /// The codec's own words.
    pub reason: String,
}

/// Why a compressed stream cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// It holds, or says it holds, more than may be decompressed.
    #[error("{codec} stream decompresses to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// Most bytes allowed.
        limit: usize,
    },
    /// It ends too early.
    #[error("{codec} stream is cut")]
    Truncated {
        /// The codec.
        codec: Codec,
    },
    /// It is not a stream of this codec.
    #[error("bytes are not a {codec} stream")]
    WrongFormat {
        /// The codec the batch names.
        codec: Codec,
    },
    /// It asks for a dictionary, which a batch cannot carry.
    #[error("{codec} stream needs a dictionary, which is not supported")]
    Dictionary {
        /// The codec.
        codec: Codec,
    },
    /// Its inner structure is damaged or contradicts itself.
    #[error("{codec} stream is damaged: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What was found.
        reason: String,
    },
    /// Bytes follow its end.
    #[error("{trailing} bytes follow the {codec} stream")]
    TrailingBytes {
        /// The codec.
        codec: Codec,
        /// How many.
        trailing: usize,
    },
}

impl DecompressError {
    /// The stable code of this refusal.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::Truncated { .. }
            | Self::WrongFormat { .. }
            | Self::Dictionary { .. }
            | Self::Corrupt { .. }
            | Self::TrailingBytes { .. } => ErrorCode::CorruptBatch,
        }
    }
}
