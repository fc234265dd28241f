//! `docs/formats/record-batch.md` against the code: the tables there are true, byte for byte.

use quipu_types::record::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use crate::{golden, sample};

const DOCUMENT: &str = "../../docs/formats/record-batch.md";

/// The rows below a heading: cells without their blanks, head and rule left out.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<Vec<String>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "{heading} has a table");
    rows
}

/// A header in which no two fields share a byte value.
fn telling_header() -> BatchHeader {
    BatchHeader {
        base_offset: Offset::new(0x0102_0304_0506_0708),
        batch_length: 0x090A_0B0C,
        leader_epoch: LeaderEpoch::new(0x0D0E_0F10),
        crc: 0x1112_1314,
        attributes: 0x1516,
        last_offset_delta: 0x1718_191A,
        base_timestamp: TimestampMs::new(0x1B1C_1D1E_1F20_2122),
        max_timestamp: TimestampMs::new(0x2324_2526_2728_292A),
        producer_id: ProducerId::new(0x2B2C_2D2E_2F30_3132),
        producer_epoch: ProducerEpoch::new(0x3334),
        base_sequence: Sequence::new(0x3536_3738),
        record_count: 0x393A_3B3C,
    }
}

fn field_bytes(header: &BatchHeader, field: &str) -> Vec<u8> {
    match field {
        "base_offset" => header.base_offset.get().to_be_bytes().to_vec(),
        "batch_length" => header.batch_length.to_be_bytes().to_vec(),
        "leader_epoch" => header.leader_epoch.get().to_be_bytes().to_vec(),
        "magic" => vec![2],
        "crc" => header.crc.to_be_bytes().to_vec(),
        "attributes" => header.attributes.to_be_bytes().to_vec(),
        "last_offset_delta" => header.last_offset_delta.to_be_bytes().to_vec(),
        "base_timestamp" => header.base_timestamp.get().to_be_bytes().to_vec(),
        "max_timestamp" => header.max_timestamp.get().to_be_bytes().to_vec(),
        "producer_id" => header.producer_id.get().to_be_bytes().to_vec(),
        "producer_epoch" => header.producer_epoch.get().to_be_bytes().to_vec(),
        "base_sequence" => header.base_sequence.get().to_be_bytes().to_vec(),
        "record_count" => header.record_count.to_be_bytes().to_vec(),
        _ => panic!("the document names an unknown field {field:?}"),
    }
}

#[test]
fn the_header_table_is_what_the_code_writes() {
    let header = telling_header();
    let mut bytes = [0; HEADER_BYTES];
    header.encode_into(&mut bytes);
    let mut end = 0;
    for row in table("Header") {
        let [at, length, field, kind] = &row[..4] else { panic!("four cells in {row:?}") };
        let (at, length): (usize, usize) = (at.parse().unwrap(), length.parse().unwrap());
        let field = field.trim_matches('`');
        assert_eq!(at, end, "{field} follows the field before it");
        assert_eq!(bytes[at..at + length], field_bytes(&header, field)[..], "{field}");
        assert_eq!(kind[1..].parse::<usize>().unwrap(), length * 8, "{field} is {kind}");
        end += length;
    }
    assert_eq!(end, HEADER_BYTES);
}

#[test]
fn the_attribute_table_is_what_the_code_reads() {
    let with = |attributes| BatchHeader { attributes, ..telling_header() };
    let mut known = 0_i16;
    for row in table("Attributes") {
        let bit = |text: &str| 1_i16 << text.parse::<u32>().unwrap();
        let bits = match row[0].split_once('–') {
            Some(("0", "2")) => 0x07,
            Some(("8", "15")) => !0xFF,
            Some(range) => panic!("unknown range of bits {range:?}"),
            None => bit(&row[0]),
        };
        assert_eq!(known & bits, 0, "bits {} twice", row[0]);
        known |= bits;
        match row[1].as_str() {
            "codec" => assert_eq!(bits, 0x07),
            "timestamp type" => {
                assert_eq!(with(bits).timestamp_type(), TimestampType::LogAppend);
                assert_eq!(with(!bits).timestamp_type(), TimestampType::Create);
            }
            "transactional" => {
                assert!(with(bits).is_transactional() && !with(!bits).is_transactional());
            }
            "control" => assert!(with(bits).is_control() && !with(!bits).is_control()),
            "delete horizon" => assert_eq!(bits, 0x40),
            "gaps" => assert!(with(bits).has_gaps() && !with(!bits).has_gaps()),
            "reserved" => assert_eq!(bits, !0xFF),
            name => panic!("the document names an unknown attribute {name:?}"),
        }
    }
    assert_eq!(known, -1, "every bit is spoken for");
}

#[test]
fn the_codec_table_is_what_the_code_knows() {
    let mut rows = table("Codecs").into_iter();
    for bits in 0..8 {
        match Codec::from_bits(bits) {
            Some(codec) => {
                let row = rows.next().expect("a row for each codec");
                assert_eq!(row[..2], [codec.bits().to_string(), codec.to_string()]);
            }
            None => assert!(bits > 4),
        }
    }
    assert_eq!(rows.next(), None);
}

/// The worked example is the golden file `one-record.bin`, so the record table is true as well:
/// its fields name the lines of the example.
#[test]
fn the_example_is_the_golden_file() {
    let golden = std::fs::read(golden::path("one-record")).unwrap();
    let mut bytes = Vec::new();
    for row in table("Example") {
        let at = usize::from_str_radix(&row[0], 16).unwrap();
        assert_eq!(at, bytes.len(), "{row:?}");
        let hex = row[1].split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
        bytes.extend(hex);
    }
    assert_eq!(bytes, golden);
}

#[test]
fn the_record_table_is_what_a_record_holds() {
    let rows = table("Records");
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let example: Vec<String> = table("Example")
        .into_iter()
        .filter(|row| usize::from_str_radix(&row[0], 16).unwrap() >= HEADER_BYTES)
        .map(|row| row[2].split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, example, "the example shows every field of the table in its order");
    let smallest = sample::Parts::default().bytes();
    assert_eq!(smallest.len(), rows.iter().filter(|row| row[2] == "always").count());
}
