//! `quipu-fuzz`: tries one target for as long as it is told.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quipu_fuzz::{
    Finding, Hunt, TARGETS, Target, Watch, caught, find, hunt, load, shrink, write_seeds,
};

/// Tries foreign and damaged bytes on a reader. Exit codes: 0 nothing found, 1 a promise is
/// broken, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The target; `--list` names them.
    #[arg(required_unless_present_any = ["list", "write_corpus"])]
    target: Option<String>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the inputs follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Run one input instead.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Where an input that is found is written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save: PathBuf,
    /// List the targets.
    #[arg(long)]
    list: bool,
    /// Write the inputs that the product's own writers make into the corpus.
    #[arg(long)]
    write_corpus: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> io::Result<ExitCode> {
    if cli.list {
        TARGETS.iter().for_each(|target| say(&format!("{:<21} {}", target.name, target.covers)));
        return Ok(ExitCode::SUCCESS);
    }
    if cli.write_corpus {
        say(&format!("{} inputs", write_seeds()?));
        return Ok(ExitCode::SUCCESS);
    }
    let name = cli.target.as_deref().unwrap_or_default();
    let target = find(name)
        .ok_or_else(|| io::Error::other(format!("there is no target {name:?}: see --list")))?;
    match &cli.replay {
        Some(file) => replay(target, file),
        None => search(cli, target),
    }
}

fn replay(target: &Target, file: &Path) -> io::Result<ExitCode> {
    let input = fs::read(file)?;
    Ok(match caught(|| (target.run)(&input)) {
        Ok(verdict) => {
            say(&format!("{verdict:?}, no promise broken"));
            ExitCode::SUCCESS
        }
        Err(words) => {
            say(&words);
            ExitCode::from(1)
        }
    })
}

fn search(cli: &Cli, target: &'static Target) -> io::Result<ExitCode> {
    let corpus: Vec<Vec<u8>> = load(target)?.into_iter().map(|(_, bytes)| bytes).collect();
    let bar = ProgressBar::new(cli.seconds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s, {msg}, {eta} left");
    bar.set_style(style.expect("the template is right"));
    let watch = Watch::default();
    let what =
        Hunt { target, time: Duration::from_secs(cli.seconds), seed: cli.seed, jobs: cli.jobs };
    let found = hunt(what, &corpus, &watch, &|passed| {
        if bar.position() != passed.as_secs() {
            bar.set_position(passed.as_secs());
            bar.set_message(format!("{} inputs", watch.tried.load(Ordering::Relaxed)));
        }
    });
    bar.finish_and_clear();
    let (tried, accepted) = (watch.tried.into_inner(), watch.accepted.into_inner());
    say(&format!("{}: {tried} inputs from seed {}, {accepted} accepted", target.name, cli.seed));
    found.map_or(Ok(ExitCode::SUCCESS), |finding| report(cli, target, &finding))
}

fn report(cli: &Cli, target: &Target, finding: &Finding) -> io::Result<ExitCode> {
    let input = shrink(target, &finding.input, &finding.words);
    let name = format!("found-{}-{:08x}", target.name, crc32c::crc32c(&input));
    let file = cli.save.join(name);
    fs::write(&file, &input)?;
    say(&finding.words);
    let (bytes, file) = (input.len(), file.display());
    say(&format!("{bytes} bytes; replay them: quipu-fuzz {} --replay {file}", target.name));
    Ok(ExitCode::from(1))
}

/// Prints; a reader that went away needs no more words.
fn say(words: &str) {
    let _ = writeln!(io::stdout(), "{words}");
}
