//! Consumers that are restarted while records come.

use anyhow::{Result, ensure};
use quipu_client::Client;
use quipu_testkit::until;

use crate::crew::{Log, SESSION, WAIT, cluster, committed, handles_all, is_drained};
use crate::load::Load;
use crate::process::{Process, Role};
use crate::watch::Watch;
use crate::windows::Windows;

const TOPIC: &str = "meters";
const GROUP: &str = "readings";
const RESTARTS: usize = 3;

/// G6, G7: killed or stopped in the middle of its work, it goes on behind its last commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_restarted_under_load_goes_on_where_it_was() -> Result<()> {
    let (cluster, client) = cluster(TOPIC, 4).await?;
    let servers = cluster.url();
    // Static: whoever comes next need not wait for the session of the one that was killed.
    let instance = "desk";
    let role = Role { servers: &servers, topic: TOPIC, group: GROUP, session: SESSION, instance };
    let log = Log::default();
    let mut windows = Windows::default();
    let load = Load::start(&client, TOPIC, 0)?;
    let watch = Watch::start(&client, GROUP);
    for number in 0..RESTARTS {
        let name = format!("process {number}");
        let process = Process::start(&name, role, &log).await?;
        works(&log, &name).await?;
        if number == 1 {
            process.leave().await?;
        } else {
            process.kill().await?;
            is_disconnected(&client).await?;
        }
        let handled = log.of(&name);
        windows.note(&committed(&client, GROUP).await?, &handled);
    }
    let last = Process::start("last", role, &log).await?;
    works(&log, "last").await?;
    let expected = load.end().await?;
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    last.leave().await?;
    watch.end().await?;
    windows.verify(&log.all())?;
    let stored: u64 = committed(&client, GROUP).await?.values().sum();
    ensure!(stored == u64::try_from(expected.len())?, "{stored} are committed");
    Ok(())
}

/// Waits until a member has handled more than comes between two commits.
async fn works(log: &Log, name: &str) -> Result<()> {
    until("records to be handled", WAIT, || async {
        let handled = log.of(name).len();
        ensure!(handled >= 500, "{name} handled {handled}");
        Ok(())
    })
    .await
}

/// Waits until the coordinator has noticed that a member's stream is over.
async fn is_disconnected(client: &Client) -> Result<()> {
    until("the stream to end", WAIT, || async {
        let group = client.admin().describe_group(GROUP).await?;
        let connected = group.members.iter().find(|member| member.is_connected);
        ensure!(connected.is_none(), "{connected:?}");
        Ok(())
    })
    .await
}
