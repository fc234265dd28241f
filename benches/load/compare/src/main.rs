//! Measures Quipu and others side by side on this machine: `cargo xtask bench --help`.
//!
//! - Every measurement has fresh servers with fresh directories on one disk; the systems take
//!   turns within each round, so that what the machine does otherwise meets all of them.
//! - Load comes from `quipu-load`, one process, the same for all; this program starts servers,
//!   says what to send, judges whether the run counts, and writes results.
//! - A figure is measured or absent; a run that the machine disturbed is marked.
//! - Start reading at [`session`], then `scenario.rs`, the table of what is compared.

mod cluster;
mod fetch;
mod generator;
mod http;
mod judge;
mod machine;
mod nemesis;
mod options;
mod outcome;
mod probe;
mod progress;
mod quiet;
mod report;
mod results;
mod scenario;
mod session;
mod shell;
mod steering;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    match session::session(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
