//! Batches back to back, as a fetch returns them.

use quipu_types::record::{Codec, ValidatedBatch};

use crate::input::{also_resealed, shared};
use crate::{Seed, Verdict, reseal, samples};

pub(crate) fn run(input: &[u8]) -> Verdict {
    also_resealed(input, reseal::batches, check)
}

pub(crate) fn seeds() -> Vec<Seed> {
    let one = samples::batch(1, b"value");
    let two = samples::from_producer(4, 7, 3);
    let three = samples::compressed(30, &[1; 40], Codec::Lz4);
    let joined = |batches: &[&ValidatedBatch]| -> Vec<u8> {
        batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect()
    };
    vec![
        ("ok-one", joined(&[&one])),
        ("ok-two", joined(&[&one, &two])),
        ("ok-three", joined(&[&three, &one, &two])),
    ]
}

fn check(bytes: &[u8]) -> Verdict {
    let whole = shared(bytes);
    let mut rest = whole.clone();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let before = rest.clone();
        let Ok(batch) = ValidatedBatch::split_first(&mut rest) else {
            assert_eq!(rest, before, "a refusal takes nothing away");
            break;
        };
        assert_eq!(batch.bytes().len() + rest.len(), before.len());
        let alone = ValidatedBatch::parse(batch.bytes().clone()).expect("it was split off");
        assert_eq!(alone.header(), batch.header());
        batches.push(batch);
    }
    let joined: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect();
    assert_eq!(joined, whole[..whole.len() - rest.len()]);
    Verdict::when(!batches.is_empty() && rest.is_empty())
}
