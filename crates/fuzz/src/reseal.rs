//! Checksums of mutated bytes made right, where the bytes still look like what they were.

use quipu_types::record::{BatchHeader, HEADER_BYTES};

/// Where the record batch's checksum lies.
const BATCH_CRC: usize = 17;

/// One batch: the checksum, and the length when the batch is the whole.
pub(crate) fn batch(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let length = i32::try_from(bytes.len() - BatchHeader::LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
    put(bytes, 8, &length.to_be_bytes());
    batch_checksum(bytes);
}

fn batch_checksum(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[BATCH_CRC + 4..]);
    put(bytes, BATCH_CRC, &crc.to_be_bytes());
}

/// Batches back to back, as far as their lengths lead from one to the next.
pub(crate) fn batches(mut bytes: &mut [u8]) {
    while let Some(header) = BatchHeader::decode(bytes) {
        let declared = i64::from(header.batch_length) + 12;
        let Some(length) = usize::try_from(declared)
            .ok()
            .filter(|length| (HEADER_BYTES..=bytes.len()).contains(length))
        else {
            return;
        };
        let (first, rest) = bytes.split_at_mut(length);
        batch_checksum(first);
        bytes = rest;
    }
}

/// Bytes that end with their checksum, big-endian.
pub(crate) fn trailer(bytes: &mut [u8]) {
    if let Some(body) = bytes.len().checked_sub(4) {
        let crc = crc32c::crc32c(&bytes[..body]);
        put(bytes, body, &crc.to_be_bytes());
    }
}

/// A file of a segment's index: the header ends with the body's checksum and its own.
pub(crate) fn index_file(bytes: &mut [u8], header_bytes: usize) {
    if bytes.len() < header_bytes {
        return;
    }
    let body = crc32c::crc32c(&bytes[header_bytes..]);
    put(bytes, header_bytes - 8, &body.to_be_bytes());
    let header = crc32c::crc32c(&bytes[..header_bytes - 4]);
    put(bytes, header_bytes - 4, &header.to_be_bytes());
}

/// Frames of a journal's file (`docs/formats/journal.md`), wherever one seems to start.
pub(crate) fn journal_file(bytes: &mut [u8]) {
    const HEADER: usize = 64;
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        if !bytes[at..].starts_with(b"QJF\xB1") {
            at += 8;
            continue;
        }
        let frame = &mut bytes[at..];
        let length = frame[36..40].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let end = HEADER.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if let Some(payload) = frame.get(HEADER..end) {
            let crc = crc32c::crc32c(payload);
            put(frame, 56, &crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&frame[..60]);
        put(frame, 60, &crc.to_le_bytes());
        at += if end <= frame.len() { end.next_multiple_of(8) } else { HEADER };
    }
}

/// Commands of a bundle (`docs/formats/bundle.md`): the batches in them.
pub(crate) fn bundle(bytes: &mut [u8]) {
    const HEADER: usize = 12;
    const COMMAND: usize = 28;
    let mut at = HEADER;
    while let Some(header) = bytes.get(at..at + COMMAND) {
        let length = header[4..8].first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
        let start = at + COMMAND;
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let is_append = header[0] == 1;
        let Some(body) = bytes.get_mut(start..end) else { return };
        if is_append {
            batch(body);
        }
        at = end;
    }
}

/// A chunk of a snapshot: batches in sections, then the checksum of all of it.
pub(crate) fn chunk(bytes: &mut [u8]) {
    let end = bytes.len().saturating_sub(4);
    let mut at = 4;
    while let Some(length) = bytes.get(at + 4..at + 8).and_then(|length| length.first_chunk()) {
        let start = at + 8;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let stop = start.saturating_add(length);
        if stop > end {
            break;
        }
        batches(&mut bytes[start..stop]);
        at = stop;
    }
    trailer(bytes);
}

/// A snapshot's manifest: the states of partitions in it, then the checksum of all of it.
pub(crate) fn manifest(bytes: &mut [u8]) {
    const HEADER: usize = 8;
    const ROW: usize = 68;
    let end = bytes.len().saturating_sub(4);
    let mut at = HEADER;
    while let Some(length) = bytes.get(at + ROW - 4..at + ROW).and_then(|it| it.first_chunk()) {
        let start = at + ROW;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let stop = start.saturating_add(length);
        if stop > end {
            break;
        }
        trailer(&mut bytes[start..stop]);
        at = stop;
    }
    trailer(bytes);
}

/// Text that ends with a line of its checksum, as the `VERSION` file does.
pub(crate) fn last_line(bytes: &[u8]) -> Vec<u8> {
    let trimmed = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let body = trimmed.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut sealed = trimmed[..body].to_vec();
    let line = format!("crc32c {:08x}\n", crc32c::crc32c(&sealed));
    sealed.extend_from_slice(line.as_bytes());
    sealed
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_is_whole_stays_as_it_is_and_damage_is_covered_up() {
        let whole = samples::batch(3, b"value").bytes().to_vec();
        let mut damaged = whole.clone();
        damaged[BATCH_CRC] ^= 0xFF;
        batch(&mut damaged);
        assert_eq!(damaged, whole);
        let mut two = [&whole[..], &whole[..]].concat();
        two[whole.len() + BATCH_CRC] ^= 1;
        batches(&mut two);
        assert_eq!(two, [&whole[..], &whole[..]].concat());
    }
}
