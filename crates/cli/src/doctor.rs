//! `quipu doctor`: what is wrong, where, and what to do.

mod cluster;
mod data_dir;
mod finding;
mod groups;
mod nodes;
mod report;
#[cfg(test)]
pub(crate) mod samples;
mod shards;
pub(crate) mod views;

use anyhow::Context;
use quipu_client::Client;

use crate::args::{DoctorArgs, Global};
use crate::exit::{FAILED, Failure};
use crate::{connect, context, start_point};
use cluster::Look;
use finding::{Finding, Severity};

/// Runs the verb.
pub(crate) fn run(global: &Global, args: &DoctorArgs) -> anyhow::Result<()> {
    let findings = match &args.dir {
        Some(dir) => data_dir::examine(dir)?,
        None => connect::block_on(Box::pin(examine(global, args)))?,
    };
    report::print(global, &findings)?;
    let count = findings.iter().filter(|finding| finding.severity != Severity::Note).count();
    if count == 0 {
        return Ok(());
    }
    Err(Failure::with_code(FAILED, format!("{count} finding(s)")))
}

async fn examine(global: &Global, args: &DoctorArgs) -> anyhow::Result<Vec<Finding>> {
    let interval = start_point::duration(&args.interval).context("--interval")?;
    let servers = context::servers(global)?;
    let client = match connect(&servers).await {
        Ok(client) => client,
        Err(error) if error.is_unavailable() => {
            return Ok(vec![cluster::unreachable(&servers, &error)]);
        }
        Err(error) => return Err(error.into()),
    };
    let admin = client.admin();
    let first = Look::take(&admin).await;
    tokio::time::sleep(interval).await;
    let second = Look::take(&admin).await;
    match (first, second) {
        (Ok(first), Ok(second)) => Ok(cluster::findings(&first, &second)),
        (Err(error), _) | (_, Err(error)) if error.is_unavailable() => {
            Ok(vec![cluster::unreachable(&servers, &error)])
        }
        (Err(error), _) | (_, Err(error)) => Err(error.into()),
    }
}

async fn connect(servers: &str) -> quipu_client::Result<Client> {
    let client = Client::builder(servers).service("quipu-doctor");
    client.connect_timeout(views::NODE_WAIT).request_timeout(views::CLUSTER_WAIT).connect().await
}
