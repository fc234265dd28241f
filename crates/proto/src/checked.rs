//! Messages between nodes with a checksum behind each: TCP's own lets one flipped bit in many pass,
//! and what a follower stores it seals with a checksum of its own.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes of the CRC32C behind a message, big end first.
const CRC_BYTES: usize = 4;

/// Protobuf, and a CRC32C over it.
#[derive(Clone, Copy, Debug)]
pub struct Checked<T, U> {
    kinds: PhantomData<(T, U)>,
}

impl<T, U> Default for Checked<T, U> {
    fn default() -> Self {
        Self { kinds: PhantomData }
    }
}

impl<T, U> Codec for Checked<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = CheckedEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        CheckedEncoder { kind: PhantomData }
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder { kind: PhantomData }
    }
}

/// Writes messages.
#[derive(Debug)]
pub struct CheckedEncoder<T> {
    kind: PhantomData<T>,
}

impl<T: Message> Encoder for CheckedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(sealed(&message));
        Ok(())
    }
}

/// Reads messages; a damaged one ends the stream.
#[derive(Debug)]
pub struct CheckedDecoder<U> {
    kind: PhantomData<U>,
}

impl<U: Message + Default> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        unsealed(bytes).map(Some)
    }
}

fn sealed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.encoded_len() + CRC_BYTES);
    message.encode(&mut bytes).expect("a buffer grows");
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32(crc);
    bytes.freeze()
}

fn unsealed<U: Message + Default>(mut bytes: Bytes) -> Result<U, Status> {
    let damaged =
        |what: String| Status::data_loss(format!("a message of a peer is damaged: {what}"));
    let length = bytes.len().checked_sub(CRC_BYTES);
    let length = length.ok_or_else(|| damaged(format!("it has {} bytes", bytes.len())))?;
    let told = bytes.split_off(length).get_u32();
    let found = crc32c::crc32c(&bytes);
    if told != found {
        return Err(damaged(format!("its checksum is {told:#010x}, the bytes give {found:#010x}")));
    }
    U::decode(bytes).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::EntryId;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let message = EntryId { term: 7, index: 1 << 40 };
        let bytes = sealed(&message);
        assert_eq!(unsealed::<EntryId>(bytes.clone()).unwrap(), message);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let refused = unsealed::<EntryId>(damaged.into()).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::DataLoss, "bit {bit}");
        }
        for length in 0..bytes.len() {
            let cut = bytes.slice(..length);
            assert!(unsealed::<EntryId>(cut).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_message_of_nothing_has_a_checksum_too() {
        let bytes = sealed(&EntryId::default());
        assert_eq!(bytes.len(), CRC_BYTES);
        assert_eq!(unsealed::<EntryId>(bytes).unwrap(), EntryId::default());
    }
}
