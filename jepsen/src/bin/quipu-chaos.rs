//! `quipu-chaos`: breaks a cluster under load and judges what it did.

use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use quipu_jepsen::campaign::Campaign;
use quipu_jepsen::chaos::{self, Options, Outcome};
use quipu_jepsen::checker::Verdict;
use quipu_jepsen::cluster::{CLIENTS, Lab};
use quipu_jepsen::nemesis::Kind;
use quipu_jepsen::table::table;
use tokio::signal::unix::{SignalKind, signal};

/// Length and number of the runs that every change must pass.
const SMOKE_SECONDS: u64 = 120;
const SMOKE_RUNS: u64 = 2;

/// Breaks a cluster of real processes under load, heals it, and judges what it did.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "quipu-chaos",
    version,
    after_help = "Exit code: 0 all valid, 1 one is invalid, 2 one is unknown or did not come to \
                  its end.\nAs root every node gets a network and a disk of its own; else only \
                  processes are hit.\n\nExamples:\n  quipu-chaos --time 120 --faults \
                  kill,partition --seed 7\n  quipu-chaos --smoke --out /tmp/chaos"
)]
struct Invocation {
    /// Seconds of load and faults.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    time: u64,
    /// Decides what happens when; the runs after the first count up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Faults or families of faults to draw from, separated by commas.
    #[arg(long, default_value = "all", value_parser = faults)]
    faults: Faults,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Where a directory per run is made: history, report, results, logs.
    #[arg(long, value_name = "DIR", default_value = "chaos")]
    out: PathBuf,
    /// Keeps what the nodes stored, also after a valid run.
    #[arg(long)]
    keep: bool,
    /// Deletes the history of a valid run; its results and its page stay.
    #[arg(long)]
    lean: bool,
    /// Appends in a second, of all producers together, at most.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    rate: u32,
    /// Prints what all runs below these directories came to, as Markdown, and ends.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    summary: Vec<PathBuf>,
    /// The two runs that every change must pass.
    #[arg(long, conflicts_with_all = ["time", "runs"])]
    smoke: bool,
    /// Without networks and disks of their own, also as root.
    #[arg(long)]
    loopback: bool,
    /// Removes networks that an interrupted run left behind, and ends.
    #[arg(long)]
    clean: bool,
    /// Tables for eyes, JSON (one document per line and run) for scripts.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The network that this process was started in.
    #[arg(long, hide = true)]
    inside: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Faults to draw from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Faults(Vec<Kind>);

fn faults(list: &str) -> Result<Faults, String> {
    Kind::parse(list).map(Faults).map_err(|error| error.to_string())
}

impl Invocation {
    fn options(&self) -> Vec<Options> {
        let (runs, time) =
            if self.smoke { (SMOKE_RUNS, SMOKE_SECONDS) } else { (self.runs, self.time) };
        let lab = self.inside.as_deref().map(|prefix| Lab::attach(prefix, self.nodes));
        let run = |number: u64| Options {
            seed: self.seed + number,
            time: Duration::from_secs(time),
            nodes: self.nodes,
            kinds: self.faults.0.clone(),
            dir: self.out.clone(),
            lab: lab.clone(),
            keep: self.keep,
            lean: self.lean,
            rate: self.rate,
        };
        (0..runs).map(run).collect()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let invocation = Invocation::parse();
    match dispatch(&invocation).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            note(&format!("quipu-chaos: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn dispatch(invocation: &Invocation) -> Result<u8> {
    if invocation.clean {
        let names = Lab::sweep()?;
        note(&format!("removed {} networks {}", names.len(), names.join(" ")));
        return Ok(0);
    }
    if !invocation.summary.is_empty() {
        let campaign = Campaign::read(&invocation.summary)?;
        writeln!(std::io::stdout().lock(), "{}", campaign.markdown())?;
        return Ok(0);
    }
    if invocation.inside.is_some() || invocation.loopback {
        return all(invocation).await;
    }
    if let Some(why) = Lab::obstacle() {
        note(&format!("ONLY PROCESSES ARE HIT, all on loopback: {why}"));
        return all(invocation).await;
    }
    inside_a_lab(invocation.nodes).await
}

/// Starts this program again in a network and a view of file systems of its own, and removes the
/// network when it is over, however it ends.
async fn inside_a_lab(nodes: u64) -> Result<u8> {
    let lab = Lab::create(nodes)?;
    let ended = again(&lab).await;
    lab.remove();
    let code = ended?.code().context("the run was killed")?;
    Ok(u8::try_from(code)?)
}

async fn again(lab: &Lab) -> Result<ExitStatus> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut child = tokio::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .args(lab.at(CLIENTS))
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--inside", lab.prefix()])
        .kill_on_drop(true)
        .spawn()
        .context("start in a network of its own")?;
    tokio::select! {
        ended = child.wait() => Ok(ended?),
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("told to stop"),
    }
}

async fn all(invocation: &Invocation) -> Result<u8> {
    ensure!(invocation.runs > 0, "no runs were asked for");
    let mut worst = Verdict::Valid;
    for options in invocation.options() {
        let verdict = match chaos::run(&options).await {
            Ok(outcome) => show(&outcome, invocation.format)?,
            Err(error) => {
                note(&format!("seed {} did not come to its end: {error:#}", options.seed));
                Verdict::Unknown
            }
        };
        worst = worst.max(verdict);
    }
    Ok(match worst {
        Verdict::Valid => 0,
        Verdict::Invalid => 1,
        Verdict::Unknown => 2,
    })
}

fn show(outcome: &Outcome, format: Format) -> Result<Verdict> {
    let text = match format {
        Format::Json => serde_json::to_string(outcome)?,
        Format::Table => {
            let history = outcome.dir.join("history.jsonl");
            let mut lines = vec![table(&history, &outcome.report)];
            lines.extend(outcome.deaths.iter().map(|death| format!("invalid because {death}")));
            lines.extend(outcome.notes.iter().map(|note| format!("excused: {note}")));
            lines.push(format!("see {}", outcome.dir.join("report.html").display()));
            lines.join("\n")
        }
    };
    writeln!(std::io::stdout().lock(), "{text}").context("print the verdict")?;
    Ok(outcome.verdict())
}

#[expect(clippy::print_stderr, reason = "this is the door to the person's terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Invocation, String> {
        let words = ["quipu-chaos"].iter().chain(words);
        Invocation::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn runs_count_up_from_the_seed_and_draw_from_the_named_faults() {
        let words = ["--time", "30", "--seed", "7", "--runs", "3", "--faults", "kill,pause-one"];
        let options = parse(&words).unwrap().options();
        let seeds: Vec<u64> = options.iter().map(|options| options.seed).collect();
        assert_eq!(seeds, [7, 8, 9]);
        assert_eq!(options[0].time, Duration::from_secs(30));
        let names: Vec<&str> = options[0].kinds.iter().map(|kind| kind.name()).collect();
        assert_eq!(names, ["kill-one", "kill-leader", "kill-all", "pause-one"]);
        assert_eq!(options[0].lab, None);
    }

    #[test]
    fn smoke_is_two_runs_of_two_minutes_with_all_faults() {
        let options = parse(&["--smoke"]).unwrap().options();
        assert_eq!(options.len(), 2);
        assert_eq!(options[0].time, Duration::from_secs(120));
        assert_eq!(options[0].kinds, Kind::parse("all").unwrap());
        assert!(parse(&["--smoke", "--time", "5"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        assert!(parse(&["--faults", "fire"]).unwrap_err().contains("is no fault"));
        assert!(parse(&["--nodes", "2"]).is_err());
        assert!(parse(&["--time", "soon"]).is_err());
    }

    #[test]
    fn inside_a_lab_the_network_is_the_one_that_was_made() {
        let options = parse(&["--inside", "quipu-chaos-1", "--nodes", "5"]).unwrap().options();
        assert_eq!(options[0].lab, Some(Lab::attach("quipu-chaos-1", 5)));
    }
}
