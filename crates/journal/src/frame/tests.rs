use std::collections::BTreeMap;

use super::*;

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/journal.md"));

fn place(file: u64, byte: u64) -> JournalPosition {
    JournalPosition { file: JournalFileId::new(file), byte }
}

/// A header in which every field has bytes of its own.
fn sample() -> Header {
    let id = EntryId::new(Term::new(0x4142_4344_4546_4748), LogIndex::new(0x5152_5354_5556_5758));
    let subject = Subject { flags: 0x21, ..Subject::entry(ShardId::new(0x3132_3334), id) };
    let place = place(0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
    Header::new(subject, place, 0x0912_1314_1516_1718, b"payload")
}

/// Cells of the table under a heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    section
        .expect(heading)
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .skip(1)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_page_describes_the_bytes_of_a_frame() {
    let header = sample();
    let bytes = header.encode();
    let expected: BTreeMap<&str, Vec<u8>> = [
        ("magic", vec![0x51, 0x4A, 0x46, 0xB1]),
        ("kind", vec![2]),
        ("flags", vec![0x21]),
        ("version", vec![1, 0]),
        ("file", header.place.file.get().to_le_bytes().to_vec()),
        ("position", header.place.byte.to_le_bytes().to_vec()),
        ("durable", header.durable.to_le_bytes().to_vec()),
        ("shard", header.subject.shard.get().to_le_bytes().to_vec()),
        ("payload_bytes", 7_u32.to_le_bytes().to_vec()),
        ("term", header.subject.id.term.get().to_le_bytes().to_vec()),
        ("index", header.subject.id.index.get().to_le_bytes().to_vec()),
        ("payload_crc", crc32c::crc32c(b"payload").to_le_bytes().to_vec()),
        ("header_crc", crc32c::crc32c(&bytes[..60]).to_le_bytes().to_vec()),
    ]
    .into();
    let rows = table("Frame");
    assert_eq!(rows.len(), expected.len());
    let mut next = 0;
    for row in rows {
        let (at, length): (usize, usize) =
            (row[0].parse().expect("offset"), row[1].parse().expect("length"));
        assert_eq!(at, next, "no gap before {}", row[2]);
        assert_eq!(bytes[at..at + length], expected[row[2]], "{}", row[2]);
        next = at + length;
    }
    assert_eq!(next, HEADER_BYTES);
}

#[test]
fn the_page_names_every_kind() {
    let rows = table("Kinds");
    let named: Vec<(u8, &str)> =
        rows.iter().map(|row| (row[0].parse().expect("number"), row[1])).collect();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| (kind.number(), kind.name())).collect();
    assert_eq!(named, kinds);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind.number()), Some(kind));
    }
}

#[test]
fn a_header_reads_back() {
    let header = sample();
    assert_eq!(Header::decode(&header.encode(), header.place), Ok(header));
}

#[test]
fn any_flipped_bit_is_noticed() {
    let header = sample();
    for bit in 0..HEADER_BYTES * 8 {
        let mut bytes = header.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&bytes, header.place).is_err(), "bit {bit}");
    }
}

#[test]
fn a_frame_is_only_valid_in_its_own_place() {
    let header = sample();
    let elsewhere = [
        place(header.place.file.get() + 1, header.place.byte),
        place(header.place.file.get(), header.place.byte + 8),
    ];
    for place in elsewhere {
        assert_eq!(Header::decode(&header.encode(), place), Err(Damage::Misplaced));
    }
    assert_eq!(Header::decode(&[0; HEADER_BYTES], header.place), Err(Damage::NoFrame));
}

#[test]
fn a_frame_cut_anywhere_is_short_or_damaged() {
    let header =
        Header::new(Subject::entry(ShardId::new(1), EntryId::default()), place(1, 0), 0, b"abc");
    let mut bytes = header.encode().to_vec();
    bytes.extend(b"abc\0\0\0\0\0");
    let file = JournalFileId::new(1);
    assert_eq!(Frame::read(&bytes, file, 0).map(|frame| frame.payload), Ok(&b"abc"[..]));
    for cut in 0..bytes.len() {
        assert!(Frame::read(&bytes[..cut], file, 0).is_err(), "cut at {cut}");
    }
}

#[test]
fn frames_start_at_multiples_of_eight() {
    assert_eq!([0, 1, 8, 9].map(frame_bytes), [64, 72, 72, 80]);
}
