//! Chores of the project: `cargo xtask <verb>`.
//!
//! Nothing has to be installed beside Rust: what the build needs from the system, the verbs
//! install themselves ([`packages`]).

mod bench;
mod book;
mod chaos;
mod demo;
mod deploy;
mod links;
mod packages;
mod planted;
mod release;
mod run;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;

use crate::run::FAILPOINTS;

const USAGE: &str = "\
Usage: cargo xtask <verb>

  demo    build, start three nodes, publish, kill the leader, verify, clean up
  chaos   build, break a cluster under load, judge what it did; --help says how
  bench   build, measure against other systems side by side; --help says how; micro: inside a node
  planted plant one defect after the other and have the suites find each; --only NAME
  deploy  check charts, compositions, units, images and packages; `pods` rehearses a pod's life
  release pack a tarball, a deb, checksums and a bill of materials; --help says how
  test    build and run every test, real clusters included
  check   formatting, lints, documentation, project rules; changes nothing
  ci      check, then test: what .ci/run does
  fix     format and apply what the lints suggest
  tidy    project rules alone
  docs    write the generated reference pages and build the book
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    match dispatch(&verb, &rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            run::say(USAGE);
            ExitCode::from(2)
        }
        Err(error) => {
            run::say(&format!("xtask {verb}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: &str, rest: &[String]) -> Result<bool> {
    match verb {
        "demo" => demo::demo(rest)?,
        "chaos" => chaos::chaos(rest)?,
        "bench" => bench::bench(rest)?,
        "planted" => planted::planted(rest)?,
        "release" => release::release(rest)?,
        "deploy" => deploy::deploy(rest)?,
        "test" => test(rest)?,
        "check" => check()?,
        "ci" => check().and_then(|()| test(&[]))?,
        "fix" => fix()?,
        "tidy" => tidy::tidy()?,
        "docs" => docs()?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn test(filters: &[String]) -> Result<()> {
    packages::install()?;
    // The tests on real processes start this binary. Built together with them, it has the same
    // dependencies with the same features: nothing is compiled twice.
    let binary: &[&str] = &["build", "--workspace", "--tests", "--bin", "quipu"];
    run::cargo(&[binary, FAILPOINTS].concat())?;
    let mut words = [&["test", "--workspace", "--no-fail-fast"], FAILPOINTS].concat();
    words.extend(filters.iter().map(String::as_str));
    let tested = run::cargo(&words);
    let deployed = if filters.is_empty() { deploy::check(&[]) } else { Ok(()) };
    tested.and(deployed)
}

fn check() -> Result<()> {
    packages::install()?;
    run::cargo(&["fmt", "--all", "--check"])?;
    tidy::tidy()?;
    let lints: &[&str] = &["--", "-D", "warnings"];
    run::cargo(&[&["clippy", "--workspace", "--all-targets"], FAILPOINTS, lints].concat())?;
    run::cargo_with(
        &["doc", "--workspace", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")],
    )
}

fn fix() -> Result<()> {
    packages::install()?;
    run::cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty"])?;
    run::cargo(&["fmt", "--all"])
}

fn docs() -> Result<()> {
    packages::install()?;
    for (page, words) in tidy::GENERATED {
        let program: &[&str] = &["run", "--quiet", "--package", "quipu-cli", "--bin", "quipu"];
        let mut line = [program, FAILPOINTS, &["--"]].concat();
        line.extend(words.iter().copied());
        std::fs::write(run::root().join(page), run::cargo_output(&line)?)?;
        run::say(&format!("wrote {page}"));
    }
    book::build()
}
