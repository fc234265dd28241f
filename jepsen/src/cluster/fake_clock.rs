//! A wall clock that only one process believes: libfaketime, preloaded. The monotonic clock is left
//! alone.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::command::run;

/// Where Debian's package `libfaketime` keeps the library.
const LIBRARY: &str = "/usr/lib/ARCH-linux-gnu/faketime/libfaketimeMT.so.1";
/// How far a clock may be from what it was set to and count as set: it is read each second.
const TOLERANCE_SECONDS: i64 = 5;

/// The wall clock of one node.
#[derive(Debug)]
pub(crate) struct FakeClock {
    /// Says how far it is off; read again by the process each second.
    file: PathBuf,
}

impl FakeClock {
    /// Installs the library when it is missing; says why there is none in the end.
    pub(crate) fn obstacle() -> Option<String> {
        if library().is_file() {
            return None;
        }
        let install = ["install", "-y", "-qq", "--no-install-recommends", "libfaketime"];
        let installed = run("apt-get", &install);
        match installed {
            Ok(_) if library().is_file() => None,
            Ok(_) => Some(format!("libfaketime has no {}", library().display())),
            Err(error) => Some(format!("libfaketime cannot be installed: {error:#}")),
        }
    }

    /// A clock that is right.
    pub(crate) fn create(file: PathBuf) -> Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Makes it wrong by so many seconds, or right again.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        // In one piece: a process may read at any time.
        let whole = self.file.with_extension("new");
        std::fs::write(&whole, format!("{seconds:+}\n"))?;
        std::fs::rename(whole, &self.file).context("set a clock")
    }

    /// Lets a process that is not started yet believe it.
    pub(crate) fn put_on(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Whether a process believes it, and it is wrong by so many seconds.
    pub(crate) fn is_wrong_for(&self, pid: u32, seconds: i64) -> Result<bool> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        if !maps.contains("libfaketime") {
            return Ok(false);
        }
        let mut date = Command::new("date");
        self.put_on(date.arg("+%s"));
        let told = date.output().context("ask a clock")?;
        ensure!(told.status.success(), "date ended with {}", told.status);
        let told: i64 = String::from_utf8(told.stdout)?.trim().parse()?;
        let right = quipu_runtime::Clock::system().wall_ms() / 1000;
        Ok((told - right - seconds).abs() <= TOLERANCE_SECONDS)
    }
}

fn library() -> PathBuf {
    PathBuf::from(LIBRARY.replace("ARCH", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that stays until its input ends.
    fn believer(clock: &FakeClock) -> Result<std::process::Child> {
        let mut command = Command::new("cat");
        clock.put_on(&mut command);
        let piped = std::process::Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).spawn()?;
        let (input, output) = (child.stdin.as_mut(), child.stdout.as_mut());
        std::io::Write::write_all(input.context("a pipe")?, b"x")?;
        // It answers, so it is loaded.
        std::io::Read::read_exact(output.context("a pipe")?, &mut [0])?;
        Ok(child)
    }

    #[test]
    fn a_clock_is_wrong_for_who_believes_it_and_right_again() -> Result<()> {
        if !library().is_file() {
            eprintln!("not run: no libfaketime");
            return Ok(());
        }
        let dir = tempfile::tempdir()?;
        let clock = FakeClock::create(dir.path().join("clock"))?;
        let mut child = believer(&clock)?;
        for seconds in [0, 86_400, -31_536_000, 0] {
            clock.set(seconds)?;
            assert!(clock.is_wrong_for(child.id(), seconds)?, "{seconds}");
            assert!(!clock.is_wrong_for(child.id(), seconds + 60)?, "{seconds}");
        }
        assert!(!clock.is_wrong_for(std::process::id(), 0)?, "who was not asked does not believe");
        drop(child.stdin.take());
        child.wait()?;
        Ok(())
    }
}
