use proptest::prelude::*;

use super::*;

fn sample() -> PartitionCheckpoint {
    let batch = |sequence, record_count, offset, timestamp| KeptBatch {
        base_sequence: Sequence::new(sequence),
        record_count,
        base_offset: Offset::new(offset),
        max_timestamp: TimestampMs::new(timestamp),
    };
    let mut producers = Producers::default();
    let first = Producer {
        epoch: ProducerEpoch::new(2),
        batches: [batch(i32::MAX, 2, 90, 1_700_000_000_000), batch(1, 5, 95, 1_700_000_000_001)]
            .into(),
    };
    let second = Producer { epoch: ProducerEpoch::new(0), batches: [batch(0, 3, 92, 0)].into() };
    producers.restore(ProducerId::new(7), first).unwrap();
    producers.restore(ProducerId::new(1 << 40), second).unwrap();
    PartitionCheckpoint {
        progress: Progress::new(Offset::new(50), Offset::new(100)),
        end: LogEnd { segment: Offset::new(80), bytes: 2048, next: Offset::new(100) },
        producers: Arc::new(producers),
    }
}

fn seal(fields: &[u8]) -> Vec<u8> {
    [fields, &crc32c::crc32c(fields).to_be_bytes()].concat()
}

#[test]
fn a_checkpoint_survives_the_trip() {
    for checkpoint in [sample(), PartitionCheckpoint::default()] {
        let bytes = checkpoint.encode();
        assert_eq!(PartitionCheckpoint::decode(&bytes), Ok(checkpoint));
    }
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let page = include_str!("../../../../docs/formats/partition-checkpoint.md");
    let block = page.split("```").nth(1).expect("an example");
    let digits =
        block.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
    let example: Vec<u8> =
        digits.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    assert_eq!(example, sample().encode());
    assert_eq!(PartitionCheckpoint::decode(&example), Ok(sample()));
}

#[test]
fn a_flipped_bit_or_a_missing_byte_is_noticed_wherever_it_is() {
    let bytes = sample().encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x20;
        PartitionCheckpoint::decode(&damaged).expect_err("flipped");
        PartitionCheckpoint::decode(&bytes[..at]).expect_err("cut");
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let bytes = sample().encode();
    let mut fields = bytes[..bytes.len() - CRC_BYTES].to_vec();
    fields[0] = 2;
    let refused = PartitionCheckpoint::decode(&seal(&fields)).unwrap_err();
    assert_eq!(refused, InvalidCheckpoint::Version { found: 2 });
}

#[test]
fn contradictions_are_refused_although_the_checksum_is_right() {
    let bytes = sample().encode();
    let fields = &bytes[..bytes.len() - CRC_BYTES];
    let change = |at: usize, value: &[u8]| {
        let mut fields = fields.to_vec();
        fields[at..at + value.len()].copy_from_slice(value);
        match PartitionCheckpoint::decode(&seal(&fields)) {
            Err(InvalidCheckpoint::Law { field }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(change(8, &101_u64.to_be_bytes()), "progress", "log start above");
    assert_eq!(change(16, &99_u64.to_be_bytes()), "progress", "log ends elsewhere");
    assert_eq!(change(24, &101_u64.to_be_bytes()), "log end", "segment after the end");
    assert_eq!(change(32, &0_u64.to_be_bytes()), "log end", "offsets without bytes");
    assert_eq!(change(4, &1_u32.to_be_bytes()), "length", "one producer less");
    assert_eq!(change(4, &3_u32.to_be_bytes()), "producer row", "one producer more");
    assert_eq!(change(48, &(-1_i64).to_be_bytes()), "producer row", "negative id");
    assert_eq!(change(48, &(1_i64 << 50).to_be_bytes()), "producer table", "out of order");
    assert_eq!(change(58, &0_u16.to_be_bytes()), "producer table", "no batch");
    assert_eq!(change(60, &7_i32.to_be_bytes()), "producer table", "a gap in the sequences");
    assert_eq!(change(68, &200_u64.to_be_bytes()), "producer table", "not in the log");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_panic(bytes: Vec<u8>) {
        prop_assert!(PartitionCheckpoint::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_fields_with_a_right_checksum_do_not_panic(
        at in 0_usize..160,
        value: [u8; 8],
        cut in 0_usize..40,
    ) {
        let bytes = sample().encode();
        let mut fields = bytes[..bytes.len() - CRC_BYTES].to_vec();
        let at = at.min(fields.len() - value.len());
        fields[at..at + value.len()].copy_from_slice(&value);
        fields.truncate(fields.len() - cut % 30);
        let bytes = seal(&fields);
        if let Ok(checkpoint) = PartitionCheckpoint::decode(&bytes) {
            let same = PartitionCheckpoint::decode(&checkpoint.encode());
            prop_assert_eq!(same, Ok(checkpoint));
        }
    }
}
