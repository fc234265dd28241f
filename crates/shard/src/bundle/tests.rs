use proptest::prelude::*;

use super::*;
use crate::test_batch::{batch, batch_of, hex, partition};

/// The format's page, so that the table there and the bytes here cannot drift apart.
const PAGE: &str = include_str!("../../../../docs/formats/bundle.md");

fn every_command() -> Bundle {
    let config = PartitionConfig { segment_bytes: 0x0102_0304, segment_age_ms: 5 };
    Bundle {
        proposed_at: TimestampMs::new(1_700_000_000_000),
        commands: vec![
            Command::Control(PartitionControl::Open {
                partition: partition(7),
                epoch_base: 3,
                config,
            }),
            Command::Append { partition: partition(7), batch: batch(1, 0x55) },
            Command::Control(PartitionControl::Trim {
                partition: partition(7),
                to: Offset::new(1),
            }),
            Command::Control(PartitionControl::Close { partition: partition(7), arrived_by: None }),
            Command::Group(Bytes::from_static(b"a command of a consumer group")),
        ],
    }
}

/// A partition that comes, and one that goes.
fn every_move() -> Bundle {
    let (partition, by) = (partition(7), MoveId::new(9));
    let config = PartitionConfig { segment_bytes: 0x0102_0304, segment_age_ms: 5 };
    let receive = PartitionControl::Receive { partition, by, is_anew: true, config };
    let state = Bytes::from_static(b"a state");
    let adopt = PartitionControl::Adopt { partition, by, epoch_after: LeaderEpoch::new(4), state };
    let import =
        Command::Import { partition, by, log_start: Offset::new(6), batch: batch(1, 0x55) };
    let seal = PartitionControl::Seal { partition, by };
    let unseal = PartitionControl::Unseal { partition, by };
    let close = PartitionControl::Close { partition, arrived_by: Some(by) };
    let mut commands = vec![Command::Control(receive), import];
    commands.extend([adopt, seal, unseal, close].map(Command::Control));
    Bundle { proposed_at: TimestampMs::new(1_700_000_000_000), commands }
}

fn shape(command: &Command) -> (PartitionId, Option<Bytes>, Option<PartitionControl>) {
    match command {
        Command::Append { partition, batch } => (*partition, Some(batch.bytes().clone()), None),
        Command::Import { partition, by, log_start, batch } => {
            let bytes =
                [&by.get().to_be_bytes()[..], &log_start.get().to_be_bytes(), batch.bytes()];
            (*partition, Some(bytes.concat().into()), None)
        }
        Command::Control(control) => (control.partition(), None, Some(control.clone())),
        Command::Group(command) => (command_partition(), Some(command.clone()), None),
    }
}

/// A group's command names no partition.
fn command_partition() -> PartitionId {
    Command::Group(Bytes::new()).partition()
}

fn assert_same(left: &Bundle, right: &Bundle) {
    assert_eq!(left.proposed_at, right.proposed_at);
    let shapes = |bundle: &Bundle| bundle.commands.iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(left), shapes(right));
}

/// The block of the page that follows a heading.
fn block_after(heading: &str) -> &'static str {
    let after = PAGE.split_once(heading).expect(heading).1;
    let start = after.find("```").expect("a block") + 3;
    let rest = &after[start..];
    let rest = &rest[rest.find('\n').expect("a line")..];
    &rest[..rest.find("```").expect("its end")]
}

#[test]
fn the_example_of_the_page_is_what_the_code_writes() {
    for (heading, bundle) in
        [("## Example\n", every_command()), ("## Example of moves\n", every_move())]
    {
        let golden: String = block_after(heading)
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .collect();
        let golden = hex(&golden);
        let encoded = bundle.encode();
        assert_eq!(encoded, golden, "the page has to say:\n{}", hex_lines(&encoded));
        assert_same(&Bundle::decode(golden).unwrap(), &bundle);
    }
}

fn hex_lines(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    bytes.chunks(16).map(|chunk| line(chunk) + "\n").collect()
}

#[test]
fn the_tables_of_the_page_add_up_to_the_headers() {
    let total = |heading: &str| -> usize {
        let after = PAGE.split_once(heading).expect(heading).1;
        let rows = after
            .lines()
            .skip_while(|line| !line.starts_with("| 0 "))
            .take_while(|line| line.starts_with("| "));
        rows.map_while(|row| {
            row.split('|').nth(2).and_then(|cell| cell.trim().parse::<usize>().ok())
        })
        .sum()
    };
    assert_eq!(total("### Bundle header"), BUNDLE_HEADER_BYTES);
    assert_eq!(total("### Command header"), COMMAND_HEADER_BYTES);
}

#[test]
fn a_decoded_batch_is_a_slice_of_the_entry() {
    let entry = every_command().encode();
    let bundle = Bundle::decode(entry.clone()).unwrap();
    let Command::Append { batch, .. } = &bundle.commands[1] else { panic!("an append") };
    let range = entry.as_ptr_range();
    assert!(range.contains(&batch.bytes().as_ptr()), "the batch was copied");
}

#[test]
fn every_cut_is_refused() {
    for entry in [every_command().encode(), every_move().encode()] {
        is_refused_when_cut(&entry);
    }
}

fn is_refused_when_cut(entry: &Bytes) {
    for length in 0..entry.len() {
        assert!(Bundle::decode(entry.slice(..length)).is_err(), "cut to {length}");
    }
    let padded = Bytes::from([&entry[..], &[0]].concat());
    assert_eq!(Bundle::decode(padded).unwrap_err(), InvalidBundle::Trailing { extra: 1 });
}

#[test]
fn unknown_versions_and_tags_are_refused_by_name() {
    let entry = every_command().encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = entry.to_vec();
        bytes[at] = byte;
        Bundle::decode(Bytes::from(bytes)).unwrap_err()
    };
    assert_eq!(with(0, 2), InvalidBundle::Version { found: 2 });
    assert_eq!(with(1, 1), InvalidBundle::Reserved);
    assert_eq!(with(BUNDLE_HEADER_BYTES, 17), InvalidBundle::Tag { found: 17 });
    assert_eq!(with(BUNDLE_HEADER_BYTES + 1, 1), InvalidBundle::Reserved);
    assert_eq!(with(BUNDLE_HEADER_BYTES, tag::TRIM), InvalidBundle::Body { tag: 4, found: 20 });
    let batch_at = BUNDLE_HEADER_BYTES + COMMAND_HEADER_BYTES + 20 + COMMAND_HEADER_BYTES;
    assert!(matches!(with(batch_at + 61, 0), InvalidBundle::Batch { .. }));
}

fn any_command() -> impl Strategy<Value = Command> {
    let partition = (any::<[u8; 16]>(), any::<u32>()).prop_map(|(topic, index)| {
        PartitionId::new(TopicId::from_bytes(topic), PartitionIndex::new(index))
    });
    (partition, 0..9_u8, any::<(i32, u64, u64)>(), (1..50_i32, any::<u8>(), 0..300_usize)).prop_map(
        |(partition, kind, (epoch_base, a, b), (count, fill, padding))| match kind {
            0 => Command::Append { partition, batch: batch_of((7, 0, 3), count, fill, padding) },
            1 => Command::Control(PartitionControl::Open {
                partition,
                epoch_base,
                config: PartitionConfig { segment_bytes: a, segment_age_ms: b },
            }),
            2 => Command::Control(PartitionControl::Close {
                partition,
                arrived_by: (a % 2 == 0).then(|| MoveId::new(b)),
            }),
            3 => Command::Control(PartitionControl::Seal { partition, by: MoveId::new(a) }),
            4 => Command::Control(PartitionControl::Unseal { partition, by: MoveId::new(a) }),
            5 => Command::Control(PartitionControl::Receive {
                partition,
                by: MoveId::new(a),
                is_anew: b % 2 == 0,
                config: PartitionConfig { segment_bytes: a, segment_age_ms: b },
            }),
            6 => Command::Control(PartitionControl::Adopt {
                partition,
                by: MoveId::new(a),
                epoch_after: LeaderEpoch::new(epoch_base),
                state: Bytes::from(vec![fill; padding]),
            }),
            7 => Command::Import {
                partition,
                by: MoveId::new(a),
                log_start: Offset::new(b),
                batch: batch_of((7, 0, 3), count, fill, padding),
            },
            _ => Command::Control(PartitionControl::Trim { partition, to: Offset::new(a) }),
        },
    )
}

proptest! {
    #[test]
    fn bundles_survive_the_trip(
        commands in proptest::collection::vec(any_command(), 0..20),
        time in any::<i64>(),
    ) {
        let bundle = Bundle { proposed_at: TimestampMs::new(time), commands };
        let encoded = bundle.encode();
        let bytes: usize = bundle.commands.iter().map(Command::encoded_bytes).sum();
        prop_assert_eq!(encoded.len(), BUNDLE_HEADER_BYTES + bytes);
        assert_same(&Bundle::decode(encoded).unwrap(), &bundle);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Bundle::decode(Bytes::from(bytes));
    }

    #[test]
    fn no_damage_makes_decoding_panic_or_pass_a_changed_batch(
        commands in proptest::collection::vec(any_command(), 1..5),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let bundle = Bundle { proposed_at: TimestampMs::new(0), commands };
        let mut bytes = bundle.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(decoded) = Bundle::decode(Bytes::from(bytes)) {
            for (left, right) in bundle.commands.iter().zip(&decoded.commands) {
                let (Command::Append { batch: left, .. }, Command::Append { batch: right, .. }) =
                    (left, right) else { continue };
                // The base offset and the leader epoch lie outside the checksum and are
                // overwritten at apply.
                prop_assert_eq!(&left.bytes()[16..], &right.bytes()[16..]);
            }
        }
    }
}
