//! RELIABILITY §6.1 for consumer groups: whatever a member or an operator sends, it gets the one
//! right error, nothing is half done, and everybody else goes on as if nothing had been.
//!
//! One cluster takes all cases, family by family. Each case is a row: what is sent, and the exact
//! code and a part of the sentence that must come back with effect none. A bystander in a group of
//! its own is there all the time. All differences of a run are shown together.

#[path = "bad_groups/bench.rs"]
mod bench;
#[path = "bad_groups/bounds.rs"]
mod bounds;
#[path = "bad_groups/bystander.rs"]
mod bystander;
#[path = "bad_groups/call.rs"]
mod call;
#[path = "bad_groups/catalogue.rs"]
mod catalogue;
#[path = "bad_groups/commits.rs"]
mod commits;
#[path = "bad_groups/far.rs"]
mod far;
#[path = "bad_groups/instances.rs"]
mod instances;
#[path = "bad_groups/members.rs"]
mod members;
#[path = "bad_groups/names.rs"]
mod names;
#[path = "bad_groups/operators.rs"]
mod operators;
#[path = "bad_groups/refusal.rs"]
mod refusal;
#[path = "bad_groups/seat.rs"]
mod seat;
#[path = "bad_groups/streams.rs"]
mod streams;
#[path = "bad_groups/subscriptions.rs"]
mod subscriptions;

use anyhow::{Result, anyhow, ensure};

use crate::bench::Bench;
use crate::bystander::Bystander;
use crate::catalogue::Catalogue;

/// Fewer would mean that a family was lost.
const CASES_MIN: usize = 240;

/// Runs families one after another; one that cannot go on does not keep the others from it.
macro_rules! families {
    ($bench:ident, $bystander:ident, $catalogue:ident: $($family:ident)+) => {
        $(
            let outcome = $family::run(&$bench, &mut $catalogue).await;
            $catalogue.note("the family ended early", outcome);
            $catalogue.note("the nodes", $bench.is_unharmed());
            $catalogue.note("the bystander", $bystander.is_unmoved(&$bench).await);
        )+
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_input_of_groups_is_refused_with_its_code_and_harms_nobody() -> Result<()> {
    let mut bench = Bench::start().await?;
    let mut bystander = Bystander::sit(&bench).await?;
    let mut catalogue = Catalogue::default();
    families! {
        bench, bystander, catalogue:
        names subscriptions bounds members instances streams commits operators
    }
    catalogue.family("afterwards");
    catalogue.note("join, commit and fetch", join_commit_and_fetch(&bench).await);
    // Last: what it may harm, it harms a moment later.
    families! { bench, bystander, catalogue: far }
    catalogue.note("the cluster", bench.cluster.wait_healthy().await);
    catalogue.verdict()?;
    let count = catalogue.count();
    ensure!(count >= CASES_MIN, "{count} cases, {CASES_MIN} were there: {}", catalogue.summary());
    Ok(())
}

/// What an honest member sees after all of it.
async fn join_commit_and_fetch(bench: &Bench) -> Result<()> {
    const GROUP: &str = "good.afterwards";
    let failed = |what: &str, refusal: refusal::Refusal| anyhow!("{what}: {refusal}");
    let joined = call::join(bench, seat::joining(GROUP, "honest")).await;
    let mut seat = joined.map_err(|refusal| failed("join", refusal))?;
    let owned = seat.owns(bench::PARTITIONS).await;
    owned.map_err(|refusal| failed("wait for all partitions", refusal))?;
    let offsets = vec![bench.position(0, 30), bench.position(1, 31)];
    let commit = call::committing(GROUP, Some(("honest", seat.epoch)), offsets);
    call::commit(bench, commit).await.map_err(|refusal| failed("commit", refusal))?;
    let fetched = call::fetch(bench, GROUP, Vec::new()).await;
    let fetched = fetched.map_err(|refusal| failed("fetch", refusal))?;
    let offsets: Vec<_> = fetched.offsets.iter().map(|at| (at.partition, at.offset)).collect();
    ensure!(offsets == [(0, 30), (1, 31)], "stored: {offsets:?}");
    seat.leave().await.map_err(|refusal| failed("leave", refusal))
}
