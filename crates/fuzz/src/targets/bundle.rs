//! A bundle of commands, and the reply to one.

use bytes::Bytes;
use quipu_shard::bundle::{BUNDLE_HEADER_BYTES, COMMAND_HEADER_BYTES};
use quipu_shard::{Bundle, Command, PartitionConfig, PartitionControl, reply};
use quipu_types::{LeaderEpoch, MoveId, Offset, TimestampMs};

use crate::input::{also_resealed, shared};
use crate::{Seed, Verdict, reseal, samples};

/// Bytes of every outcome.
const OUTCOME_BYTES: usize = 40;

pub(crate) fn run(input: &[u8]) -> Verdict {
    also_resealed(input, reseal::bundle, |bytes| bundle(bytes).or(answer(bytes)))
}

fn bundle(bytes: &[u8]) -> Verdict {
    let bundle = match Bundle::decode(shared(bytes)) {
        Ok(bundle) => bundle,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return Verdict::Refused;
        }
    };
    let body = bytes.len() - BUNDLE_HEADER_BYTES;
    assert!(bundle.commands.len() * COMMAND_HEADER_BYTES <= body);
    let sizes: usize = bundle.commands.iter().map(Command::encoded_bytes).sum();
    assert_eq!(sizes, body);
    let written = bundle.encode();
    assert_eq!(written.len(), bytes.len());
    let again = Bundle::decode(written.clone()).expect("just written");
    assert_eq!(again.encode(), written);
    assert_eq!(again.commands.len(), bundle.commands.len());
    Verdict::Accepted
}

fn answer(bytes: &[u8]) -> Verdict {
    let Ok(outcomes) = reply::decode(bytes) else { return Verdict::Refused };
    assert!(outcomes.len() * OUTCOME_BYTES <= bytes.len());
    let written = reply::encode(&outcomes);
    assert_eq!(reply::decode(&written), Ok(outcomes));
    Verdict::Accepted
}

pub(crate) fn seeds() -> Vec<Seed> {
    let bundle = |commands| Bundle { proposed_at: TimestampMs::new(samples::NOON), commands };
    let append = |batch| Command::Append { partition: samples::partition(0), batch };
    let appends = bundle(vec![append(samples::batch(2, b"v")), append(samples::batch(1, b""))]);
    let answers = [
        reply::Outcome::UnknownPartition,
        reply::Outcome::Opened { is_new: true },
        reply::Outcome::Group(Bytes::from_static(b"answer")),
        reply::Outcome::Sealed {
            epoch: LeaderEpoch::new(3),
            state: Bytes::from_static(b"a state"),
        },
        reply::Outcome::Misplaced,
    ];
    vec![
        ("ok-nothing", bundle(Vec::new()).encode().to_vec()),
        ("ok-appends", appends.encode().to_vec()),
        ("ok-controls", bundle(controls()).encode().to_vec()),
        ("ok-group", bundle(vec![Command::Group(Bytes::from_static(b"{}"))]).encode().to_vec()),
        ("ok-reply", reply::encode(&answers).to_vec()),
    ]
}

fn controls() -> Vec<Command> {
    let partition = samples::partition(1);
    let config = PartitionConfig { segment_bytes: 1 << 20, segment_age_ms: 0 };
    let controls = [
        PartitionControl::Open { partition, epoch_base: 4, config },
        PartitionControl::Trim { partition, to: Offset::new(3) },
        PartitionControl::Close { partition, arrived_by: None },
        PartitionControl::Close { partition, arrived_by: Some(MoveId::new(5)) },
        PartitionControl::Receive { partition, by: MoveId::new(6), is_anew: true, config },
        PartitionControl::Seal { partition, by: MoveId::new(6) },
        PartitionControl::Unseal { partition, by: MoveId::new(6) },
    ];
    controls.map(Command::Control).to_vec()
}
