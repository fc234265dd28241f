//! The `quipu` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quipu_cli::run(quipu_cli::args::Invocation::parse())
}
