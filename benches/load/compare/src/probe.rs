//! What this machine can do at most: the primitives that every replicated log is made of, measured
//! one by one. PERFORMANCE's model makes limits of them.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::machine;

const EACH: Duration = Duration::from_millis(600);
const CHUNK: usize = 64 << 10;
const FILE_BYTES: u64 = 64 << 20;
const FLUSH_SIZES: [usize; 4] = [4 << 10, 64 << 10, 256 << 10, 1 << 20];
const WRITERS: usize = 3;

/// Costs in nanoseconds of CPU time, and what the disk takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Probe {
    pub(crate) cores: usize,
    /// A byte over loopback, both ends, in chunks of 64 KiB.
    pub(crate) tcp_ns_per_byte: f64,
    /// A small message over loopback, both ends.
    pub(crate) message_ns: f64,
    pub(crate) crc_ns_per_byte: f64,
    /// A byte written over what the page cache holds.
    pub(crate) copy_ns_per_byte: f64,
    pub(crate) flushes: Vec<Flush>,
}

/// `pwrite` + `fdatasync` of one size, over a file that was written before.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Flush {
    pub(crate) bytes: usize,
    /// By one writer.
    pub(crate) latency_us: f64,
    pub(crate) cpu_us: f64,
    /// By three writers at once, together.
    pub(crate) bytes_per_second: f64,
}

/// Measures everything; takes about ten seconds.
pub(crate) fn probe(dir: &Path) -> Result<Probe> {
    let dir = dir.join("probe");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let flushes = FLUSH_SIZES.iter().map(|bytes| flush(&dir, *bytes)).collect::<Result<_>>();
    let copy = copy(&dir);
    std::fs::remove_dir_all(&dir)?;
    Ok(Probe {
        cores: machine::cores(),
        tcp_ns_per_byte: tcp()?,
        message_ns: message()?,
        crc_ns_per_byte: crc(),
        copy_ns_per_byte: copy?,
        flushes: flushes?,
    })
}

impl Probe {
    /// CPU nanoseconds of a flush of so many bytes: fixed part and part per byte.
    pub(crate) fn flush_cost(&self) -> (f64, f64) {
        let [small, .., large] = self.flushes.as_slice() else { return (0.0, 0.0) };
        let bytes = float(large.bytes) - float(small.bytes);
        let per_byte = (large.cpu_us - small.cpu_us) * 1e3 / bytes;
        let fixed = small.cpu_us * 1e3 - per_byte * float(small.bytes);
        (fixed.max(0.0), per_byte.max(0.0))
    }

    /// Bytes per second that three writers get to the disk with flushes of this size; between
    /// measured sizes on a straight line over the logarithm.
    pub(crate) fn durable_rate(&self, flush_bytes: f64) -> Option<f64> {
        let above = self.flushes.iter().find(|it| float(it.bytes) >= flush_bytes);
        let below = self.flushes.iter().rfind(|it| float(it.bytes) <= flush_bytes);
        match (below, above) {
            (Some(low), Some(high)) if low.bytes < high.bytes => {
                let (from, to) = (float(low.bytes).ln(), float(high.bytes).ln());
                let share = (flush_bytes.ln() - from) / (to - from);
                let (slow, fast) = (low.bytes_per_second, high.bytes_per_second);
                Some(slow + (fast - slow) * share)
            }
            // Smaller flushes than measured: as many of them, each with less.
            (None, Some(high)) => Some(high.bytes_per_second * flush_bytes / float(high.bytes)),
            (Some(it), _) => Some(it.bytes_per_second),
            (None, None) => None,
        }
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).expect("below a second");
    Duration::new(u64::try_from(time.tv_sec).expect("not negative"), nanoseconds)
}

fn nanoseconds(time: Duration, per: usize) -> f64 {
    time.as_secs_f64() * 1e9 / float(per.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes fit a float")]
fn float(number: usize) -> f64 {
    number as f64
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true)?;
    }
    Ok((ours, theirs))
}

fn tcp() -> Result<f64> {
    let (mut ours, mut theirs) = pair()?;
    let reader = std::thread::spawn(move || {
        let begun = thread_cpu();
        let mut buffer = vec![0; CHUNK];
        while theirs.read(&mut buffer)? > 0 {}
        Ok::<_, std::io::Error>(thread_cpu() - begun)
    });
    let (begun, end) = (thread_cpu(), Instant::now() + EACH);
    let chunk = vec![7; CHUNK];
    let mut sent = 0;
    while Instant::now() < end {
        ours.write_all(&chunk)?;
        sent += CHUNK;
    }
    let spent = thread_cpu() - begun;
    drop(ours);
    let theirs = reader.join().expect("the reader does not panic")?;
    Ok(nanoseconds(spent + theirs, sent))
}

fn message() -> Result<f64> {
    let (mut ours, mut theirs) = pair()?;
    let echo = std::thread::spawn(move || {
        let begun = thread_cpu();
        let mut message = [0; 64];
        while theirs.read_exact(&mut message).is_ok() {
            theirs.write_all(&message)?;
        }
        Ok::<_, std::io::Error>(thread_cpu() - begun)
    });
    let (begun, end) = (thread_cpu(), Instant::now() + EACH);
    let mut message = [7; 64];
    let mut count = 0;
    while Instant::now() < end {
        ours.write_all(&message)?;
        ours.read_exact(&mut message)?;
        count += 2;
    }
    let spent = thread_cpu() - begun;
    drop(ours);
    let theirs = echo.join().expect("the echo does not panic")?;
    Ok(nanoseconds(spent + theirs, count))
}

fn crc() -> f64 {
    let block = vec![7; CHUNK];
    let (begun, end) = (thread_cpu(), Instant::now() + EACH / 2);
    let mut bytes = 0;
    while Instant::now() < end {
        for _ in 0..16 {
            black_box(crc32c::crc32c(black_box(&block)));
        }
        bytes += 16 * CHUNK;
    }
    nanoseconds(thread_cpu() - begun, bytes)
}

/// A file whose blocks are there.
fn written(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(true).write(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn copy(dir: &Path) -> Result<f64> {
    let file = written(&dir.join("copy"))?;
    let block = vec![7; CHUNK];
    let (begun, end) = (thread_cpu(), Instant::now() + EACH / 2);
    let mut bytes = 0;
    while Instant::now() < end {
        file.write_all_at(&block, bytes as u64 % FILE_BYTES)?;
        bytes += CHUNK;
    }
    Ok(nanoseconds(thread_cpu() - begun, bytes))
}

fn flush(dir: &Path, bytes: usize) -> Result<Flush> {
    let (took, cpu, count) = write_and_flush(&dir.join("one"), bytes)?;
    let writers = (0..WRITERS).map(|writer| {
        let path = dir.join(format!("of-three-{writer}"));
        std::thread::spawn(move || write_and_flush(&path, bytes))
    });
    let writers: Vec<_> = writers.collect();
    let mut together = 0.0;
    for writer in writers {
        let (took, _, count) = writer.join().expect("writers do not panic")?;
        together += float(count * bytes) / took.as_secs_f64();
    }
    Ok(Flush {
        bytes,
        latency_us: nanoseconds(took, count) / 1e3,
        cpu_us: nanoseconds(cpu, count) / 1e3,
        bytes_per_second: together,
    })
}

fn write_and_flush(path: &Path, bytes: usize) -> Result<(Duration, Duration, usize)> {
    let file = written(path)?;
    let block = vec![7; bytes];
    let (begun, cpu) = (Instant::now(), thread_cpu());
    let mut count = 0;
    while begun.elapsed() < EACH {
        file.write_all_at(&block, (count * bytes) as u64 % FILE_BYTES)?;
        file.sync_data()?;
        count += 1;
    }
    Ok((begun.elapsed(), thread_cpu() - cpu, count))
}
