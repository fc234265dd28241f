//! `quipu top`: the cluster at work, as long as one watches.
//!
//! A [`sample::Sample`] is what nodes tell at one moment; a [`view::View`] is what lies between two
//! of them, and all that is shown.

mod sample;
mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::ensure;
use quipu_client::Client;

use crate::args::{Format, Global, TopArgs};
use crate::exit::Failure;
use crate::{connect, output, start_point};
use sample::Sample;
use screen::Screen;
use view::View;

/// Nobody reads faster, and every look asks every node.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Runs the verb.
pub(crate) fn run(global: &Global, args: &TopArgs) -> anyhow::Result<()> {
    let every = every(&args.every)?;
    ensure!(global.output != Format::Raw, Failure::usage("top has -o table and -o json"));
    connect::block_on(async {
        let client = connect::client(global).await?;
        let is_live = std::io::stdout().is_terminal() && global.output == Format::Table;
        if is_live && !args.once {
            return watch(&client, every).await;
        }
        let mut before = Sample::take(&client).await?;
        loop {
            tokio::time::sleep(every).await;
            let now = match Sample::take(&client).await {
                Ok(now) => now,
                // Who looks once wants an answer; who watches waits for the cluster.
                Err(error) if args.once => return Err(error),
                Err(error) => {
                    output::note(&format!("{error:#}"));
                    continue;
                }
            };
            print(global.output, &View::between(&before, &now))?;
            if args.once {
                return Ok(());
            }
            before = now;
        }
    })
}

/// Looks again and again, until interrupted. A look that fails is told, and the next one follows.
///
/// # Errors
/// When `every` is no time between two looks, or the first look fails: nothing was there to watch.
pub(crate) async fn again(
    every: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let every = self::every(every)?;
    look().await?;
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = look().await {
            if error.is::<std::io::Error>() {
                return Err(error);
            }
            output::note(&format!("{error:#}"));
        }
    }
}

/// How often to look.
fn every(text: &str) -> anyhow::Result<Duration> {
    let every = start_point::duration(text)?;
    ensure!(every >= EVERY_MIN, Failure::usage(format!("--every {text}: at least 100ms")));
    Ok(every)
}

/// One document a line; or tables, with an empty line behind each look.
fn print(format: Format, view: &View) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::line(&serde_json::to_string(view)?);
    }
    output::line(&view.headline())?;
    for table in view.tables() {
        output::line("")?;
        output::table(&table.header, table.rows)?;
    }
    for problem in &view.problems {
        output::line(&format!("! {problem}"))?;
    }
    output::line("")
}

async fn watch(client: &Client, every: Duration) -> anyhow::Result<()> {
    let mut screen = Screen::open()?;
    let mut before = None;
    screen.draw(&Err("looking".to_owned()))?;
    loop {
        let looked = tokio::select! {
            looked = Sample::take(client) => looked,
            () = screen.quit() => return Ok(()),
        };
        let shown = match looked {
            Ok(now) => {
                let view = View::between(before.as_ref().unwrap_or(&now), &now);
                before = Some(now);
                Ok(view)
            }
            Err(error) => Err(format!("{error:#}")),
        };
        screen.draw(&shown)?;
        let next = tokio::time::sleep(every);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                () = screen.resized() => screen.draw(&shown)?,
                () = screen.quit() => return Ok(()),
            }
        }
    }
}
