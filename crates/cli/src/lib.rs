//! The `quipu` command: one file per verb.
//!
//! - Data goes to stdout, words for people to stderr; `-o json` is for scripts and stable.
//! - Exit codes: 0 done · 1 failed · 2 usage · 3 not found · 4 denied · 5 unavailable or timed out ·
//!   6 conflict ([`exit`]).
//! - Must not know: how a cluster works inside. Verbs talk to it through `quipu-client`; only
//!   `serve` and `dev` start one.
//! - Start reading at [`args`].

pub mod args;
mod bench;
mod cluster;
mod config;
mod connect;
mod context;
mod dev;
mod doctor;
#[cfg(test)]
mod documents;
mod errors;
pub mod exit;
mod failpoints;
mod group;
mod journal;
mod local;
mod manual;
mod metrics;
mod node;
mod output;
mod partition;
mod policy;
mod publish;
mod serve;
mod shard;
pub mod start_point;
mod subscribe;
mod top;
mod topic;
mod waiting;

use std::process::ExitCode;

use args::{Command, Invocation};

/// Runs one invocation and reports its failure in words.
#[must_use]
pub fn run(invocation: Invocation) -> ExitCode {
    let Invocation { global, command } = invocation;
    let outcome = match command {
        Command::Serve(args) => serve::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Local(verb) => local::run(&global, verb),
        Command::Topic(verb) => topic::run(&global, verb),
        Command::Partition(verb) => partition::run(&global, verb),
        Command::Policy(verb) => policy::run(&global, verb),
        Command::Group(verb) => group::run(&global, verb),
        Command::Cluster(verb) => cluster::run(&global, verb),
        Command::Doctor(args) => doctor::run(&global, &args),
        Command::Top(args) => top::run(&global, &args),
        Command::Node(verb) => node::run(&global, verb),
        Command::Shard(verb) => shard::run(&global, verb),
        Command::Pub(args) => publish::run(&global, args),
        Command::Sub(args) => subscribe::run(&global, args),
        Command::Replay(args) => subscribe::replay(&global, args),
        Command::Bench(args) => bench::run(&global, args),
        Command::Journal(verb) => journal::run(&global, verb),
        Command::Config(verb) => config::run(verb),
        Command::Context(verb) => context::run(&global, verb),
        Command::Errors => errors::run(),
        Command::Manual { pages } => manual::run(pages.as_deref()),
        Command::Metrics => metrics::run(),
        Command::Completion { shell } => args::completion(shell),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
