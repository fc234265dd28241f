//! What became of each command of a bundle: the reply a state machine hands back.
//!
//! It never reaches a disk, but it crosses between nodes when a proposal was forwarded, so its
//! layout is fixed too: `docs/formats/bundle.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_partition::{AppendRefused, Appended};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, Progress, Sequence, TimestampMs};

/// The only layout so far.
const VERSION: u8 = 1;
/// Bytes before the first outcome.
const HEADER_BYTES: usize = 4;
/// Bytes of every outcome.
const OUTCOME_BYTES: usize = 40;

/// What an outcome is. On the wire; never reuse.
mod kind {
    pub(super) const APPENDED: u8 = 1;
    pub(super) const REFUSED: u8 = 2;
    pub(super) const UNKNOWN_PARTITION: u8 = 3;
    pub(super) const OPENED: u8 = 4;
    pub(super) const CLOSED: u8 = 5;
    pub(super) const TRIMMED: u8 = 6;
    pub(super) const GROUP: u8 = 7;
    pub(super) const IMPORTED: u8 = 8;
    pub(super) const SEALED: u8 = 9;
    pub(super) const MISPLACED: u8 = 10;
}

/// Why an append was refused. On the wire; never reuse.
mod reason {
    pub(super) const OUT_OF_ORDER: u8 = 1;
    pub(super) const FENCED: u8 = 2;
    pub(super) const UNKNOWN_PRODUCER: u8 = 3;
    pub(super) const DUPLICATE: u8 = 4;
}

/// What became of one command. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The batch has offsets, from now or, for a retry, from before.
    Appended(Appended),
    /// The producer's sequence or epoch does not fit.
    Refused(AppendRefused),
    /// The shard does not host the partition.
    UnknownPartition,
    /// The partition is hosted.
    Opened {
        /// Whether it was not before.
        is_new: bool,
    },
    /// The partition is not hosted any more.
    Closed,
    /// The prefix is gone.
    Trimmed(Progress),
    /// The answer of the consumer groups' state machine, opaque here.
    Group(Bytes),
    /// The batch is here, from now or from before.
    Imported(Progress),
    /// The partition does not change any more.
    Sealed {
        /// The last leader epoch that it may have.
        epoch: LeaderEpoch,
        /// What the other shard goes on from, opaque here.
        state: Bytes,
    },
    /// The partition is hosted, and not at the stage that the command is for: somebody was faster.
    Misplaced,
}

/// Why bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReply {
    /// Written by a newer release, or empty.
    #[error("reply version is not supported")]
    Version,
    /// The bytes and the count disagree.
    #[error("reply has {found} bytes, its count asks for {expected}")]
    Length {
        /// What the count asks for.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// An outcome nobody assigned.
    #[error("outcome kind {kind}, reason {reason} is not supported")]
    Kind {
        /// The kind byte.
        kind: u8,
        /// The reason byte.
        reason: u8,
    },
    /// Fields contradict each other.
    #[error("outcome has fields out of range")]
    Fields,
}

/// The fixed fields of an outcome; what they mean depends on the kind.
#[derive(Default)]
struct Fields {
    kind: u8,
    reason: u8,
    flag: bool,
    values: [u64; 4],
}

/// Encodes the outcomes of a bundle, in the order of its commands.
///
/// # Panics
/// With more than 65,535 outcomes: a bundle has fewer commands.
#[must_use]
pub fn encode(outcomes: &[Outcome]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + OUTCOME_BYTES * outcomes.len());
    bytes.put_u8(VERSION);
    bytes.put_u8(0);
    bytes.put_u16(u16::try_from(outcomes.len()).expect("BUNDLE_COMMANDS_MAX fits"));
    for outcome in outcomes {
        let fields = to_fields(outcome);
        bytes.put_u8(fields.kind);
        bytes.put_u8(fields.reason);
        bytes.put_u8(u8::from(fields.flag));
        bytes.put_bytes(0, 5);
        for value in fields.values {
            bytes.put_u64(value);
        }
    }
    // Answers of any length follow the outcomes, in their order.
    for outcome in outcomes {
        if let Outcome::Group(answer) | Outcome::Sealed { state: answer, .. } = outcome {
            bytes.extend_from_slice(answer);
        }
    }
    bytes.freeze()
}

/// Decodes a reply.
///
/// # Errors
/// [`InvalidReply`] says what does not fit.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Outcome>, InvalidReply> {
    if bytes.len() < HEADER_BYTES || bytes.get_u8() != VERSION {
        return Err(InvalidReply::Version);
    }
    let _ = bytes.get_u8();
    let count = usize::from(bytes.get_u16());
    let fixed = count * OUTCOME_BYTES;
    let (outcomes, mut answers) = bytes
        .split_at_checked(fixed)
        .ok_or(InvalidReply::Length { expected: fixed, found: bytes.len() })?;
    let decoded: Result<Vec<Outcome>, InvalidReply> =
        outcomes.chunks_exact(OUTCOME_BYTES).map(|one| decode_one(one, &mut answers)).collect();
    match (decoded, answers.len()) {
        (Ok(_), extra @ 1..) => {
            Err(InvalidReply::Length { expected: bytes.len() - extra, found: bytes.len() })
        }
        (decoded, _) => decoded,
    }
}

fn decode_one(mut bytes: &[u8], answers: &mut &[u8]) -> Result<Outcome, InvalidReply> {
    let kind = bytes.get_u8();
    let reason = bytes.get_u8();
    let flag = bytes.get_u8() != 0;
    bytes.advance(5);
    let values = [bytes.get_u64(), bytes.get_u64(), bytes.get_u64(), bytes.get_u64()];
    if kind == kind::GROUP || kind == kind::SEALED {
        let length = usize::try_from(values[0]).unwrap_or(usize::MAX);
        let (answer, rest) = answers
            .split_at_checked(length)
            .ok_or(InvalidReply::Length { expected: length, found: answers.len() })?;
        *answers = rest;
        let answer = Bytes::copy_from_slice(answer);
        if kind == kind::GROUP {
            return Ok(Outcome::Group(answer));
        }
        let epoch = i32::try_from(values[1].cast_signed()).map_err(|_| InvalidReply::Fields)?;
        return Ok(Outcome::Sealed { epoch: LeaderEpoch::new(epoch), state: answer });
    }
    from_fields(&Fields { kind, reason, flag, values })
}

fn to_fields(outcome: &Outcome) -> Fields {
    match outcome {
        Outcome::Appended(appended) => Fields {
            kind: kind::APPENDED,
            flag: appended.is_duplicate,
            values: [
                appended.base_offset.get(),
                appended.log_start.get(),
                appended.high_watermark_after.get(),
                appended.max_timestamp.get().cast_unsigned(),
            ],
            ..Fields::default()
        },
        Outcome::Refused(refused) => refused_to_fields(refused),
        Outcome::UnknownPartition => Fields { kind: kind::UNKNOWN_PARTITION, ..Fields::default() },
        Outcome::Opened { is_new } => {
            Fields { kind: kind::OPENED, flag: *is_new, ..Fields::default() }
        }
        Outcome::Closed => Fields { kind: kind::CLOSED, ..Fields::default() },
        Outcome::Trimmed(progress) => progress_fields(kind::TRIMMED, progress),
        Outcome::Imported(progress) => progress_fields(kind::IMPORTED, progress),
        Outcome::Group(answer) => Fields {
            kind: kind::GROUP,
            values: [u64::try_from(answer.len()).unwrap_or(u64::MAX), 0, 0, 0],
            ..Fields::default()
        },
        Outcome::Sealed { epoch, state } => Fields {
            kind: kind::SEALED,
            values: [
                u64::try_from(state.len()).unwrap_or(u64::MAX),
                i64::from(epoch.get()).cast_unsigned(),
                0,
                0,
            ],
            ..Fields::default()
        },
        Outcome::Misplaced => Fields { kind: kind::MISPLACED, ..Fields::default() },
    }
}

fn progress_fields(kind: u8, progress: &Progress) -> Fields {
    let values = [progress.log_start().get(), progress.high_watermark().get(), 0, 0];
    Fields { kind, values, ..Fields::default() }
}

fn from_fields(fields: &Fields) -> Result<Outcome, InvalidReply> {
    let [a, b, c, d] = fields.values;
    match fields.kind {
        kind::APPENDED => Ok(Outcome::Appended(Appended {
            base_offset: Offset::new(a),
            log_start: Offset::new(b),
            high_watermark_after: Offset::new(c),
            is_duplicate: fields.flag,
            max_timestamp: TimestampMs::new(d.cast_signed()),
        })),
        kind::REFUSED => refused_from_fields(fields).map(Outcome::Refused),
        kind::UNKNOWN_PARTITION => Ok(Outcome::UnknownPartition),
        kind::OPENED => Ok(Outcome::Opened { is_new: fields.flag }),
        kind::CLOSED => Ok(Outcome::Closed),
        kind::TRIMMED | kind::IMPORTED if a > b => Err(InvalidReply::Fields),
        kind::TRIMMED => Ok(Outcome::Trimmed(Progress::new(Offset::new(a), Offset::new(b)))),
        kind::IMPORTED => Ok(Outcome::Imported(Progress::new(Offset::new(a), Offset::new(b)))),
        kind::MISPLACED => Ok(Outcome::Misplaced),
        kind => Err(InvalidReply::Kind { kind, reason: fields.reason }),
    }
}

fn refused_to_fields(refused: &AppendRefused) -> Fields {
    let with = |reason, values| Fields { kind: kind::REFUSED, reason, values, flag: false };
    match refused {
        AppendRefused::OutOfOrderSequence { expected, found } => {
            with(reason::OUT_OF_ORDER, [widen(expected.get()), widen(found.get()), 0, 0])
        }
        AppendRefused::ProducerFenced { current } => {
            with(reason::FENCED, [widen(i32::from(current.get())), 0, 0, 0])
        }
        AppendRefused::UnknownProducer => with(reason::UNKNOWN_PRODUCER, [0; 4]),
        AppendRefused::DuplicateSequence => with(reason::DUPLICATE, [0; 4]),
    }
}

fn refused_from_fields(fields: &Fields) -> Result<AppendRefused, InvalidReply> {
    let [a, b, _, _] = fields.values;
    match fields.reason {
        reason::OUT_OF_ORDER => Ok(AppendRefused::OutOfOrderSequence {
            expected: Sequence::new(narrow(a)?),
            found: Sequence::new(narrow(b)?),
        }),
        reason::FENCED => {
            let current = i16::try_from(narrow(a)?).map_err(|_| InvalidReply::Fields)?;
            Ok(AppendRefused::ProducerFenced { current: ProducerEpoch::new(current) })
        }
        reason::UNKNOWN_PRODUCER => Ok(AppendRefused::UnknownProducer),
        reason::DUPLICATE => Ok(AppendRefused::DuplicateSequence),
        reason => Err(InvalidReply::Kind { kind: fields.kind, reason }),
    }
}

fn widen(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

fn narrow(value: u64) -> Result<i32, InvalidReply> {
    i32::try_from(value.cast_signed()).map_err(|_| InvalidReply::Fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_outcome() -> Vec<Outcome> {
        vec![
            Outcome::Appended(Appended {
                base_offset: Offset::new(42),
                log_start: Offset::new(7),
                high_watermark_after: Offset::new(44),
                is_duplicate: true,
                max_timestamp: TimestampMs::new(-1),
            }),
            Outcome::Refused(AppendRefused::OutOfOrderSequence {
                expected: Sequence::new(3),
                found: Sequence::new(-1),
            }),
            Outcome::Refused(AppendRefused::ProducerFenced { current: ProducerEpoch::new(9) }),
            Outcome::Refused(AppendRefused::UnknownProducer),
            Outcome::Refused(AppendRefused::DuplicateSequence),
            Outcome::UnknownPartition,
            Outcome::Opened { is_new: true },
            Outcome::Opened { is_new: false },
            Outcome::Closed,
            Outcome::Trimmed(Progress::new(Offset::new(5), Offset::new(6))),
        ]
    }

    #[test]
    fn every_outcome_survives_the_trip() {
        let outcomes = every_outcome();
        assert_eq!(decode(&encode(&outcomes)), Ok(outcomes));
        assert_eq!(decode(&encode(&[])), Ok(Vec::new()));
    }

    #[test]
    fn a_cut_or_padded_reply_is_refused() {
        let bytes = encode(&every_outcome());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        let padded = [&bytes[..], &[0]].concat();
        assert!(matches!(decode(&padded), Err(InvalidReply::Length { .. })));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let bytes = encode(&every_outcome());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                let _ = decode(&damaged);
            }
        }
    }
}
