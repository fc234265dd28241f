//! What is in a batch, as far as it can be looked at.

use bytes::Bytes;
use quipu_compression::{compress, decompress};
use quipu_types::limits::COMPACTED_PLAIN_BYTES_MAX;
use quipu_types::record::{Codec, ValidatedBatch};

/// The records of a batch, decompressed. `None` where nobody can look at them: a compressed batch
/// from before its topic was compacted may become too large, or be none at all.
pub(crate) fn plain(batch: &ValidatedBatch) -> Option<Bytes> {
    match batch.codec() {
        Codec::None => Some(batch.section()),
        codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {
            let section = decompress(codec, &batch.section(), COMPACTED_PLAIN_BYTES_MAX).ok()?;
            batch.check_records_of(&section).ok().map(|()| section)
        }
    }
}

/// A plain batch with `codec` again, where that makes it smaller.
pub(crate) fn compressed(plain: ValidatedBatch, codec: Codec) -> ValidatedBatch {
    match plain.compressed(codec, |section| compress(codec, section)) {
        Ok(batch) => batch,
        Err(error) => {
            tracing::warn!(%error, "a compacted batch stays plain");
            plain
        }
    }
}
