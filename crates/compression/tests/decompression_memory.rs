//! A bomb costs its limit and no more: measured in a process of its own, at the allocator and at
//! the kernel's account of the process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quipu_compression::{DecompressError, compress, decompress};
use quipu_types::record::Codec;

const MIB: usize = 1 << 20;
const LIMIT: usize = 8 * MIB;
/// Decoder states and pages touched by the way.
const SLACK: usize = MIB;

/// Counts the bytes that are allocated now, and the most there ever were.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn allocated(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        allocated(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}

/// Most bytes `act` took beyond what was there: at the allocator, and resident.
fn cost(act: impl FnOnce()) -> (usize, usize) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (live, resident) = (LIVE.load(Ordering::Relaxed), status("VmRSS:"));
    PEAK.store(live, Ordering::Relaxed);
    act();
    (PEAK.load(Ordering::Relaxed) - live, status("VmHWM:").saturating_sub(resident))
}

fn gzip() -> Vec<u8> {
    compress(Codec::Gzip, &vec![0; MIB]).unwrap().repeat(1_024)
}

/// 64 chunks of 16 MiB behind one xerial header.
fn snappy() -> Vec<u8> {
    let block = snap::raw::Encoder::new().compress_vec(&vec![0; 16 * MIB]).unwrap();
    let chunk = [&u32::try_from(block.len()).unwrap().to_be_bytes()[..], &block].concat();
    [&compress(Codec::Snappy, b"").unwrap()[..], &chunk.repeat(64)].concat()
}

/// Chunks that the limit has room for, one by one.
fn snappy_in_small_chunks() -> Vec<u8> {
    let one = compress(Codec::Snappy, &vec![0; MIB]).unwrap();
    let (header, chunks) = one.split_at(16);
    [header, &chunks.repeat(64)].concat()
}

fn lz4() -> Vec<u8> {
    let one = compress(Codec::Lz4, &vec![0; 64 << 10]).unwrap();
    let (header, block) = one[..one.len() - 4].split_at(7);
    [header, &block.repeat(16 << 10), &[0; 4]].concat()
}

fn zstd() -> Vec<u8> {
    ::zstd::stream::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 30), 1).unwrap()
}

/// A kibibyte that says it is a gibibyte.
fn zstd_lie() -> Vec<u8> {
    [&[0x28, 0xB5, 0x2F, 0xFD, 0xE0][..], &(1_u64 << 30).to_le_bytes(), &[0; 1_011]].concat()
}

fn lz4_lie() -> Vec<u8> {
    let size = (1_u64 << 30).to_le_bytes();
    [&[0x04, 0x22, 0x4D, 0x18, 0x68, 0x70][..], &size, &[0; 1_010]].concat()
}

fn snappy_lie() -> Vec<u8> {
    [&[0x80, 0x80, 0x80, 0x80, 0x04][..], &[0; 1_019]].concat()
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_gibibyte_costs_its_limit() {
    type Bomb = fn() -> Vec<u8>;
    let bombs: [(&str, Codec, Bomb); 8] = [
        ("gzip", Codec::Gzip, gzip),
        ("snappy", Codec::Snappy, snappy),
        ("snappy in small chunks", Codec::Snappy, snappy_in_small_chunks),
        ("lz4", Codec::Lz4, lz4),
        ("zstd", Codec::Zstd, zstd),
        ("snappy lie", Codec::Snappy, snappy_lie),
        ("lz4 lie", Codec::Lz4, lz4_lie),
        ("zstd lie", Codec::Zstd, zstd_lie),
    ];
    for (name, codec, bomb) in bombs {
        let stream = Bytes::from(bomb());
        let mut refused = None;
        let (allocated, resident) = cost(|| refused = decompress(codec, &stream, LIMIT).err());
        assert_eq!(refused, Some(DecompressError::TooLarge { codec, limit: LIMIT }), "{name}");
        assert!(allocated <= LIMIT + SLACK, "{name} allocated {allocated} bytes");
        assert!(resident <= LIMIT + SLACK, "{name} touched {resident} bytes");
    }
    // The measure measures: what fits does cost its size.
    let stream = compress(Codec::Zstd, &vec![0; LIMIT]).unwrap();
    let (allocated, resident) = cost(|| drop(decompress(Codec::Zstd, &stream, LIMIT).unwrap()));
    assert!((LIMIT..=LIMIT + SLACK).contains(&allocated), "{allocated} bytes");
    assert!(resident >= LIMIT - SLACK, "{resident} bytes");
}
