//! Loads one system and measures what it does: `quipu-load --help`.
//!
//! - One thread sends, receives and counts, the same for every system: differences between systems
//!   are then the systems' and their clients'.
//! - Open loop ([`plan::Mode::Open`]): records are due at times that no answer moves, and every latency
//!   is counted from when a record was due. Closed loops ([`plan::Mode::Saturate`],
//!   [`plan::Mode::OneByOne`])
//!   are labelled as such: their figures are throughput, not latency under load.
//! - A record is its own witness: it carries when it was due and its number, so readers know
//!   latency, loss and duplicates without asking anybody.
//! - Start reading at [`run`], then `driver.rs`, which says what a system must be able to do.

mod book;
mod driver;
mod gaps;
mod latency;
mod machine;
mod outcome;
mod payload;
mod plan;
mod publish;
mod read;
mod run;
mod schedule;
mod seen;
mod series;

use anyhow::{Context, Result};
use clap::Parser;

use crate::driver::{kafka, nats, quipu, rabbitmq, redis, streams};
use crate::plan::{Plan, System};

fn main() -> Result<()> {
    let plan = Plan::parse();
    plan.validate()?;
    // One worker: this thread. Timers of 1 ms are too coarse for schedules; see `schedule.rs`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, measured(&plan)).with_context(|| plan.title())
}

async fn measured(plan: &Plan) -> Result<()> {
    let outcome = match plan.system {
        System::Quipu => Box::pin(run::run::<quipu::Quipu>(plan)).await,
        System::Nats => Box::pin(run::run::<nats::Nats>(plan)).await,
        System::Kafka => Box::pin(run::run::<kafka::Kafka>(plan)).await,
        System::RabbitmqQuorum => Box::pin(run::run::<rabbitmq::QuorumQueues>(plan)).await,
        System::RabbitmqStreams => Box::pin(run::run::<streams::Streams>(plan)).await,
        System::Redis => Box::pin(run::run::<redis::Redis>(plan)).await,
    }?;
    outcome.write(&plan.out)
}
