//! One producer: takes room, waits until a record is due, hands it over.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use crate::book::Book;
use crate::driver::Publisher;
use crate::payload::Payloads;
use crate::plan::{Mode, Plan};
use crate::schedule::{Alarm, Schedule};

const LOOK: Duration = Duration::from_millis(20);

/// What a producer needs beside its connection.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) number: u32,
    pub(crate) plan: Rc<Plan>,
    pub(crate) book: Rc<Book>,
    pub(crate) payloads: Rc<Payloads>,
}

/// Sends until the window is over.
pub(crate) async fn publish(task: Task, mut publisher: impl Publisher) -> Result<()> {
    let mut turns = Turns::new(&task);
    match task.plan.mode {
        Mode::Open => open(&task, &mut publisher, &mut turns).await?,
        Mode::Saturate | Mode::OneByOne => closed(&task, &mut publisher, &mut turns).await?,
        Mode::Read => {}
    }
    // Clients give up what is on its way when they are dropped.
    while !task.book.is_drained() {
        tokio::time::sleep(LOOK).await;
    }
    drop(publisher);
    Ok(())
}

/// Whatever is answered: the next record is due when the schedule says so.
async fn open(task: &Task, publisher: &mut impl Publisher, turns: &mut Turns) -> Result<()> {
    let plan = &task.plan;
    let rate = plan.rate.expect("validated");
    let mut schedule = Schedule::new(plan.arrivals, rate, (task.number, plan.producers));
    let alarm = Alarm::new(task.book.origin())?;
    // Until then the system or its client held us up, which is not the generator's lag.
    let mut held_until = 0;
    loop {
        let due = schedule.next();
        if due >= task.book.window().end {
            return Ok(());
        }
        alarm.wait(due).await?;
        let late = task.book.now().saturating_sub(due.max(held_until));
        task.book.lagged(due, late);
        if !task.book.try_take_room() {
            task.book.take_room().await;
            held_until = task.book.now();
        }
        let ticket = task.book.send(due, turns.next());
        let payload = task.payloads.make(due, ticket.number);
        let mut sending = std::pin::pin!(publisher.send(payload, ticket));
        if let Some(sent) = sending.as_mut().now_or_never() {
            sent?;
        } else {
            sending.await?;
            held_until = task.book.now();
        }
    }
}

/// As many as there is room for.
async fn closed(task: &Task, publisher: &mut impl Publisher, turns: &mut Turns) -> Result<()> {
    loop {
        task.book.take_room().await;
        let due = task.book.now();
        let ticket = task.book.send(due, turns.next());
        publisher.send(task.payloads.make(due, ticket.number), ticket).await?;
        if due >= task.book.window().end {
            return Ok(());
        }
    }
}

/// Whose turn it is among the partitions.
#[derive(Debug)]
struct Turns {
    partitions: u32,
    current: u32,
    run_length: usize,
    left: usize,
}

impl Turns {
    /// Producers begin at different partitions.
    fn new(task: &Task) -> Self {
        let (partitions, run_length) = (task.plan.partitions, task.plan.run_length());
        let current = task.number * partitions / task.plan.producers % partitions;
        Self { partitions, current, run_length, left: run_length }
    }

    const fn next(&mut self) -> u32 {
        if self.left == 0 {
            self.current = (self.current + 1) % self.partitions;
            self.left = self.run_length;
        }
        self.left -= 1;
        self.current
    }
}
