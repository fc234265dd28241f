//! Whether the machine has anything else to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const LOOK: Duration = Duration::from_secs(2);
/// Of one processor: more than this of another's work and a figure says little.
pub(crate) const FOREIGN_MOST: f64 = 0.02;
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Looks for two seconds, while nothing of ours runs, at what other processes do.
pub(crate) fn check(even_if_busy: bool) -> Result<Option<String>> {
    let before = ticks()?;
    std::thread::sleep(LOOK);
    let after = ticks()?;
    let mut busy: Vec<(f64, String)> = after
        .iter()
        .filter(|(pid, _)| **pid != std::process::id())
        .map(|(pid, (name, now))| {
            let earlier = before.get(pid).map_or(0, |(_, ticks)| *ticks);
            (share(now.saturating_sub(earlier)), format!("{name} ({pid})"))
        })
        .filter(|(share, _)| *share > 0.0)
        .collect();
    busy.sort_by(|one, other| other.0.total_cmp(&one.0));
    let total: f64 = busy.iter().map(|(share, _)| share).sum();
    if total <= FOREIGN_MOST {
        return Ok(None);
    }
    let named: Vec<String> =
        busy.iter().take(4).map(|(share, name)| format!("{name} {:.0} %", share * 100.0)).collect();
    let text =
        format!("other processes use {:.0} % of a processor: {}", total * 100.0, named.join(", "));
    ensure!(even_if_busy, "{text}; end them, or measure with --even-if-busy, which marks the run");
    Ok(Some(text))
}

#[expect(clippy::cast_precision_loss, reason = "ticks of seconds fit a float")]
fn share(ticks: u64) -> f64 {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    ticks as f64 / per_second / LOOK.as_secs_f64()
}

/// Clock ticks of every process that is not the kernel's. Not those of its ended children: the one
/// that takes in orphans would count a whole life at the moment it ends.
fn ticks() -> Result<BTreeMap<u32, (String, u64)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since the directory was listed.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(process) = parse(&stat) {
            found.insert(pid, process);
        }
    }
    Ok(found)
}

/// See proc(5).
fn parse(stat: &str) -> Option<(String, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let count = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let is_kernel = count(9)? & KERNEL_THREAD != 0;
    let ticks = (14..=15).filter_map(count).sum();
    (!is_kernel).then(|| (before.split_once('(').map_or("", |it| it.1).to_owned(), ticks))
}
