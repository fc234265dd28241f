//! One run from the first connection to the last record read.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::book::Book;
use crate::driver::Driver;
use crate::machine::{Snapshot, Usage};
use crate::outcome::Outcome;
use crate::payload::Payloads;
use crate::plan::{Mode, Plan};
use crate::publish::{Task, publish};
use crate::read::Readers;
use crate::schedule::Origin;

const LOOK: Duration = Duration::from_millis(20);

/// Measures one system.
pub(crate) async fn run<D: Driver>(plan: &Plan) -> Result<Outcome> {
    let driver = D::connect(plan).await.context("connect")?;
    if plan.existing.is_none() {
        driver.create(plan).await.context("create the topic")?;
    }
    if plan.mode == Mode::Read { read_all(&driver, plan).await } else { load(&driver, plan).await }
}

async fn load<D: Driver>(driver: &D, plan: &Plan) -> Result<Outcome> {
    let book = Rc::new(Book::new(plan, Origin::now()));
    let mut publishers = Vec::new();
    for _ in 0..plan.producers {
        publishers.push(driver.publisher(plan, book.clone()).await.context("open a producer")?);
    }
    let is_late = plan.read_after > 0;
    let from_start = is_late || plan.existing.is_some();
    let mut readers = match is_late {
        true => Readers::default(),
        false => Readers::start(driver, plan, &book, from_start).await?,
    };
    book.begin();
    let shared = Rc::new(plan.clone());
    let payloads = Rc::new(Payloads::new(plan.record_bytes, plan.random_ratio, book.run));
    let mut producing: Vec<JoinHandle<Result<()>>> = Vec::new();
    for (number, publisher) in (0..).zip(publishers) {
        let (plan, book, payloads) = (shared.clone(), book.clone(), payloads.clone());
        let task = Task { number, plan, book, payloads };
        producing.push(tokio::task::spawn_local(publish(task, publisher)));
    }
    let usage = {
        let mut watching = std::pin::pin!(watch(plan, &book));
        let mut late = std::pin::pin!(start_late(driver, plan, &book, is_late));
        let mut is_started = !is_late;
        loop {
            tokio::select! {
                usage = &mut watching => break usage?,
                started = &mut late, if !is_started => {
                    readers = started?;
                    is_started = true;
                }
                () = tokio::time::sleep(LOOK * 10) => {
                    readers.check().await?;
                    check(&mut producing).await?;
                }
            }
        }
    };
    let drain = Duration::from_secs(plan.drain);
    let is_drained =
        wait(drain, || book.is_drained() && producing.iter().all(|it| it.is_finished()));
    let is_drained = is_drained.await;
    let is_read = wait(drain, || book.is_read()).await;
    check(&mut producing).await?;
    producing.iter().for_each(JoinHandle::abort);
    let mut outcome = Outcome::of(plan, &book, usage);
    outcome.is_drained = is_drained;
    outcome.is_read = is_read;
    Ok(outcome)
}

async fn start_late<D: Driver>(
    driver: &D,
    plan: &Plan,
    book: &Rc<Book>,
    is_late: bool,
) -> Result<Readers> {
    if !is_late {
        return Ok(Readers::default());
    }
    tokio::time::sleep(Duration::from_secs(plan.read_after)).await;
    Readers::start(driver, plan, book, true).await
}

/// The machine at both ends of the window.
async fn watch(plan: &Plan, book: &Book) -> Result<Usage> {
    sleep_until(book, book.window().start).await;
    let before = Snapshot::take(plan).await?;
    sleep_until(book, book.window().end).await;
    Ok(Snapshot::take(plan).await?.since(&before, plan))
}

async fn sleep_until(book: &Book, when: u64) {
    tokio::time::sleep(Duration::from_nanos(when.saturating_sub(book.now()))).await;
}

/// A producer that failed ends the run; one that is done is fine.
async fn check(producing: &mut Vec<JoinHandle<Result<()>>>) -> Result<()> {
    while let Some(at) = producing.iter().position(JoinHandle::is_finished) {
        producing.swap_remove(at).await?.context("a producer failed")?;
    }
    Ok(())
}

async fn wait(at_most: Duration, is_done: impl Fn() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + at_most;
    while !is_done() {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Reads what is there already, as fast as it comes.
async fn read_all<D: Driver>(driver: &D, plan: &Plan) -> Result<Outcome> {
    let book = Rc::new(Book::new(plan, Origin::now()));
    let before = Snapshot::take(plan).await?;
    book.begin();
    let mut readers = Readers::start(driver, plan, &book, true).await?;
    let all = plan.existing.expect("validated");
    let limit = Duration::from_secs(plan.seconds + plan.drain);
    let begun = tokio::time::Instant::now();
    while book.read_least() < all {
        let read = book.read_least();
        ensure!(begun.elapsed() < limit, "only {read} of {all} records read in {limit:?}");
        readers.check().await?;
        tokio::time::sleep(LOOK).await;
    }
    let usage = Snapshot::take(plan).await?.since(&before, plan);
    let mut outcome = Outcome::of(plan, &book, usage);
    outcome.is_read = true;
    outcome.is_drained = true;
    Ok(outcome)
}
