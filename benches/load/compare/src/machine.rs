//! What machine this is, in the words of its own tools.

use std::collections::BTreeMap;
use std::process::Command;

use crate::shell::run;

/// Text by file name; what cannot be found out is left out.
pub(crate) fn describe() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let programs: [(&str, &str, &[&str]); 5] = [
        ("lscpu.txt", "lscpu", &[]),
        ("kernel.txt", "uname", &["-a"]),
        ("memory.txt", "free", &["-m"]),
        ("disks.txt", "lsblk", &["-o", "NAME,SIZE,ROTA,SCHED,MODEL,MOUNTPOINTS"]),
        ("commit.txt", "git", &["log", "-1", "--format=%H %cI %s"]),
    ];
    for (name, program, words) in programs {
        if let Ok(text) = run(Command::new(program).args(words)) {
            found.insert(name.to_owned(), text);
        }
    }
    let files = [
        ("write-cache.txt", "/sys/block/vda/queue/write_cache"),
        ("mounts.txt", "/proc/mounts"),
        ("versions.txt", "/proc/version"),
    ];
    for (name, path) in files {
        if let Ok(text) = std::fs::read_to_string(path) {
            found.insert(name.to_owned(), text);
        }
    }
    found
}

/// The machine in one line: for tables and the progress file.
pub(crate) fn summary() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = cores();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let gib = kib.map_or(0, |kib: u64| (kib + (1 << 19)) >> 20);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} x {model}, {gib} GiB, Linux {}", kernel.trim())
}

/// Processors this program may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
