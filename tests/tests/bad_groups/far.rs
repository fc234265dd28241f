//! Family: positions as far away as there are any. Who adds them up must not fall over them.

use anyhow::{Context, Result};

use crate::bench::{Bench, PARTITIONS};
use crate::call;
use crate::catalogue::{Catalogue, Want};

const GROUP: &str = "bad.far";
const FARTHEST: u64 = u64::MAX >> 1;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("far");
    let offsets = (0..PARTITIONS).map(|partition| bench.position(partition, FARTHEST)).collect();
    let reply = call::commit(bench, call::committing(GROUP, None, offsets)).await;
    catalogue.case("the farthest position everywhere", Want::Accepted, &reply);
    let reply = call::describe(bench, GROUP).await;
    catalogue.case("describe it", Want::Accepted, &reply);
    let measured = bench.has_metric("quipu_group_committed_offset", GROUP).await;
    catalogue.judge("its lag is measured", measured.context("the keeper adds positions up"));
    Ok(())
}
