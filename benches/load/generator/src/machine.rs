//! What the machine did during the window: CPU time of the servers, of the generator and of
//! everybody else; flushes and bytes of the disk; the servers' own metrics.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plan::Plan;

/// Of the kernel's own threads (PF_KTHREAD).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Foreign processes named in a report.
const FOREIGN_SHOWN: usize = 5;
const SECTOR_BYTES: u64 = 512;

/// The machine at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    at: Instant,
    processes: BTreeMap<u32, Process>,
    cpu: Vec<u64>,
    disk: Option<Disk>,
    pages: Vec<String>,
}

#[derive(Clone, Debug)]
struct Process {
    name: String,
    is_kernel: bool,
    /// Clock ticks of itself.
    own: u64,
    /// Clock ticks of children that ended.
    children: u64,
    resident_bytes: u64,
}

#[derive(Clone, Debug)]
struct Disk {
    name: String,
    flushes: u64,
    writes: u64,
    written_bytes: u64,
}

/// What changed between two moments.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) server_cpu_s: f64,
    pub(crate) server_resident_bytes: u64,
    pub(crate) generator_cpu_s: f64,
    pub(crate) kernel_thread_cpu_s: f64,
    /// Processes that have no part in the measurement.
    pub(crate) foreign_cpu_s: f64,
    /// The busiest of them.
    pub(crate) foreign: Vec<Foreign>,
    /// Time the host gave to others.
    pub(crate) steal_s: f64,
    pub(crate) idle_s: f64,
    /// By the kernel's count for the whole device.
    pub(crate) disk: Option<DiskUsage>,
    /// Sums over all servers of what their metrics rose by.
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// A process beside the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Foreign {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_s: f64,
}

/// A disk's work.
#[derive(Debug, Serialize)]
pub(crate) struct DiskUsage {
    pub(crate) name: String,
    pub(crate) flushes: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
}

impl Snapshot {
    pub(crate) async fn take(plan: &Plan) -> Result<Self> {
        let mut pages = Vec::new();
        for address in &plan.metrics {
            pages.push(scrape(address).await.with_context(|| format!("scrape {address}"))?);
        }
        let disk = plan.disk.clone();
        // Files of /proc take a millisecond or two: not on the thread that sends.
        let files = tokio::task::spawn_blocking(move || {
            let disk = disk.as_deref().map(disk_of).transpose()?;
            Ok::<_, anyhow::Error>((Instant::now(), processes()?, cpu()?, disk))
        });
        let (at, processes, cpu, disk) = files.await??;
        Ok(Self { at, processes, cpu, disk, pages })
    }

    /// What happened since `earlier`.
    pub(crate) fn since(&self, earlier: &Self, plan: &Plan) -> Usage {
        let tick = 1.0 / ticks_per_second();
        let spent = |pid: u32, with_children: bool| {
            let ticks =
                |process: &Process| process.own + if with_children { process.children } else { 0 };
            let now = self.processes.get(&pid).map_or(0, ticks);
            let before = earlier.processes.get(&pid).map_or(0, ticks);
            seconds(now.saturating_sub(before), tick)
        };
        let generator = std::process::id();
        let is_ours = |pid: u32| {
            pid == generator || plan.server_pids.contains(&pid) || plan.own_pids.contains(&pid)
        };
        let others = self.processes.iter().filter(|(pid, _)| !is_ours(**pid));
        let (kernel, foreign): (Vec<_>, Vec<_>) = others.partition(|(_, it)| it.is_kernel);
        let mut foreign: Vec<Foreign> = foreign
            .into_iter()
            .map(|(pid, it)| (*pid, it.name.clone(), spent(*pid, true)))
            .map(|(pid, name, cpu_s)| Foreign { pid, name, cpu_s })
            .collect();
        foreign.sort_by(|one, other| other.cpu_s.total_cmp(&one.cpu_s));
        let named: f64 = foreign.iter().map(|it| it.cpu_s).sum();
        foreign.truncate(FOREIGN_SHOWN);
        foreign.retain(|it| it.cpu_s > 0.0);
        let cpu = |field: usize| {
            let at = |cpu: &[u64]| cpu.get(field).copied().unwrap_or(0);
            seconds(at(&self.cpu).saturating_sub(at(&earlier.cpu)), tick)
        };
        let servers = plan.server_pids.iter();
        let server_cpu_s = servers.clone().map(|pid| spent(*pid, false)).sum();
        let generator_cpu_s = spent(generator, false);
        let kernel_thread_cpu_s = kernel.iter().map(|(pid, _)| spent(**pid, false)).sum();
        // A child that ended brings along what it did before the window: all that was done within
        // bounds it.
        let ours: f64 = server_cpu_s + generator_cpu_s + kernel_thread_cpu_s;
        let left = (cpu(0) + cpu(1) + cpu(2) - ours).max(0.0);
        let resident = |pid: &u32| self.processes.get(pid).map(|it| it.resident_bytes);
        Usage {
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            server_cpu_s,
            server_resident_bytes: servers.filter_map(resident).sum(),
            generator_cpu_s,
            kernel_thread_cpu_s,
            foreign_cpu_s: named.min(left),
            foreign,
            steal_s: cpu(7),
            idle_s: cpu(3) + cpu(4),
            disk: self.disk_since(earlier),
            metrics: self.metrics_since(earlier),
        }
    }

    fn disk_since(&self, earlier: &Self) -> Option<DiskUsage> {
        let (now, before) = (self.disk.as_ref()?, earlier.disk.as_ref()?);
        Some(DiskUsage {
            name: now.name.clone(),
            flushes: now.flushes - before.flushes,
            writes: now.writes - before.writes,
            written_bytes: now.written_bytes - before.written_bytes,
        })
    }

    fn metrics_since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let mut rises: BTreeMap<String, f64> = BTreeMap::new();
        for (pages, sign) in [(&self.pages, 1.0), (&earlier.pages, -1.0)] {
            for (name, value) in pages.iter().flat_map(|page| page.lines()).filter_map(metric) {
                *rises.entry(name).or_default() += sign * value;
            }
        }
        rises.retain(|_, rise| rise.abs() > f64::EPSILON);
        rises
    }
}

/// Name without labels, and value. Buckets are left out: their sums and counts say enough.
fn metric(line: &str) -> Option<(String, f64)> {
    let name = line.split(['{', ' ']).next()?;
    let is_wanted = !line.starts_with('#') && !name.ends_with("_bucket");
    let value = line.rsplit(' ').next()?.parse().ok()?;
    (is_wanted && !line.contains("quantile=")).then(|| (name.to_owned(), value))
}

#[expect(clippy::cast_precision_loss, reason = "ticks of years fit a float")]
fn seconds(ticks: u64, tick: f64) -> f64 {
    ticks as f64 * tick
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn processes() -> Result<BTreeMap<u32, Process>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since the directory was listed.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(process) = parse_stat(&stat) {
            found.insert(pid, process);
        }
    }
    Ok(found)
}

/// See proc(5): the name is in parentheses and may contain anything; fields follow from the third.
fn parse_stat(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let count = |number: usize| u64::try_from(field(number)?).ok();
    Some(Process {
        name,
        is_kernel: count(9)? & KERNEL_THREAD != 0,
        own: count(14)? + count(15)?,
        children: count(16).unwrap_or(0) + count(17).unwrap_or(0),
        resident_bytes: count(24).unwrap_or(0) * u64::try_from(rustix::param::page_size()).ok()?,
    })
}

/// user, nice, system, idle, iowait, irq, softirq, steal.
fn cpu() -> Result<Vec<u64>> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    Ok(line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect())
}

/// The disk under a directory, from /proc/diskstats (Documentation/admin-guide/iostats.rst).
fn disk_of(dir: &Path) -> Result<Disk> {
    let device = std::fs::metadata(dir).with_context(|| format!("look at {}", dir.display()))?;
    let (major, minor) = (rustix::fs::major(device.dev()), rustix::fs::minor(device.dev()));
    let stats = std::fs::read_to_string("/proc/diskstats").context("read /proc/diskstats")?;
    let of_device = |line: &&str| {
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u32>().ok());
        number(words.next()) == Some(major) && number(words.next()) == Some(minor)
    };
    let line = stats.lines().find(of_device);
    let line = line.with_context(|| format!("no disk statistics of device {major}:{minor}"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |column: usize| -> Result<u64> {
        let word = words.get(column - 1).with_context(|| {
            format!("/proc/diskstats has no column {column}: this kernel does not count flushes")
        })?;
        word.parse().with_context(|| format!("column {column} of /proc/diskstats"))
    };
    Ok(Disk {
        name: words[2].to_owned(),
        writes: number(8)?,
        written_bytes: number(10)? * SECTOR_BYTES,
        flushes: number(19)?,
    })
}

async fn scrape(address: &str) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(5);
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n").await?;
        let mut page = Vec::new();
        stream.read_to_end(&mut page).await?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    };
    tokio::time::timeout(LIMIT, asked).await.context("no answer in time")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 3 20 0 1 0 5 1000 200";
        let process = parse_stat(stat).expect("it is well formed");
        assert_eq!(process.name, "a) b (c)");
        assert_eq!((process.own, process.children, process.is_kernel), (300, 10, false));
    }

    #[test]
    fn labels_and_buckets_are_left_out_of_metrics() {
        let cases = [
            ("# HELP a b", None),
            ("flushes_total 3", Some(("flushes_total".to_owned(), 3.0))),
            ("in_total{topic=\"a b\"} 4.5", Some(("in_total".to_owned(), 4.5))),
            ("took_bucket{le=\"1\"} 4", None),
            ("took{quantile=\"0.5\"} 4", None),
        ];
        for (line, expected) in cases {
            assert_eq!(metric(line), expected, "{line}");
        }
    }
}
