//! One TCP segment in an IPv4 packet.

use std::ops::Range;

use quipu_runtime::Rng;

const TCP: u8 = 6;
/// Where the checksum stands in the header of TCP.
const SUM: Range<usize> = 16..18;

/// Flips a bit of what the segment carries and makes its checksum fit, so that nobody but the
/// receiving program can notice. False, and no change, when it carries nothing.
pub(super) fn spoil(packet: &mut [u8], rng: &mut Rng) -> bool {
    let Some((tcp, data)) = parts(packet) else { return false };
    let count = u64::try_from(data.len()).unwrap_or_default();
    if count == 0 {
        return false;
    }
    let place = usize::try_from(rng.below(count)).expect("below a length");
    packet[data.start + place] ^= 1 << rng.below(8);
    packet[tcp.start + SUM.start..tcp.start + SUM.end].fill(0);
    let sum = !ones_sum(packet, &tcp);
    packet[tcp.start + SUM.start..tcp.start + SUM.end].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Where the segment stands, and what it carries in it; none when this is no whole segment.
fn parts(packet: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let first = *packet.first()?;
    let (start, end) = (usize::from(first & 0x0f) * 4, word(packet, 2)?);
    let is_part = word(packet, 6)? & 0x3fff != 0;
    if first >> 4 != 4 || *packet.get(9)? != TCP || is_part || end > packet.len() {
        return None;
    }
    let data = start + usize::from(*packet.get(start + 12)? >> 4) * 4;
    (data <= end).then_some((start..end, data..end))
}

fn word(packet: &[u8], at: usize) -> Option<usize> {
    let bytes = packet.get(at..at + 2)?;
    Some(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
}

/// The sum of TCP over the segment and the addresses; all ones when the checksum in it holds.
fn ones_sum(packet: &[u8], tcp: &Range<usize>) -> u16 {
    let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX).to_be_bytes();
    let pseudo = [&packet[12..20], &[0, TCP], &length].concat();
    let mut sum: u32 = 0;
    for part in [&pseudo[..], &packet[tcp.clone()]] {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 10.77.0.1:9292 to 10.77.0.2:40000.
    fn packet(data: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + data.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, TCP, 0, 0];
        packet.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        packet
            .extend([0x24, 0x4c, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        packet.extend(data);
        let sum = !ones_sum(&packet, &(20..packet.len()));
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn the_checksum_is_the_one_of_tcp() {
        // Computed by hand from the words of the addresses, the protocol and the segment.
        assert_eq!(packet(b"ab")[36..38], [0x78, 0x3c]);
    }

    #[test]
    fn one_bit_of_the_data_is_flipped_and_the_checksum_holds() {
        for length in [1, 2, 77, 1400] {
            let sent = packet(&vec![0xa5; length]);
            let mut spoiled = sent.clone();
            assert!(spoil(&mut spoiled, &mut Rng::seeded(5)));
            let bits = |range: Range<usize>| -> u32 {
                range.map(|at| (sent[at] ^ spoiled[at]).count_ones()).sum()
            };
            assert_eq!((bits(0..36), bits(38..40), bits(40..sent.len())), (0, 0, 1));
            assert_eq!(ones_sum(&spoiled, &(20..sent.len())), 0xffff);
        }
    }

    #[test]
    fn what_carries_nothing_or_is_no_segment_is_left_alone() {
        let mut fragment = packet(b"data");
        fragment[6] = 0x20;
        let mut datagram = packet(b"data");
        datagram[9] = 17;
        let cut = packet(b"data")[..30].to_vec();
        for mut packet in [packet(b""), fragment, datagram, cut, Vec::new()] {
            let before = packet.clone();
            assert!(!spoil(&mut packet, &mut Rng::seeded(5)));
            assert_eq!(packet, before);
        }
    }
}
