//! Family: streams that end before their time.

use anyhow::{Result, anyhow, ensure};
use quipu_proto::v1;

use crate::bench::{Bench, within};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::seat::{closed_after, joining};

const GROUP: &str = "bad.streams";

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("stream");
    for node in 1..=3 {
        let closed = closed_after(bench.channel(node).clone(), Vec::new());
        let reply = within("the end of an empty stream", closed).await;
        let name = format!("closed before the first request, at node {node}");
        catalogue.case(&name, Want::Accepted, &reply);
        let judged = match reply {
            Ok(count) if count > 0 => Err(anyhow!("{count} answers to nothing")),
            Ok(_) | Err(_) => Ok(()),
        };
        catalogue.note(name, judged);
    }
    let request = joining(GROUP, "hasty");
    let reply = bench.ask(async |channel| closed_after(channel, vec![request.clone()]).await).await;
    catalogue.case("closed right after the first request", Want::Accepted, &reply);
    catalogue.judge("its member stays, without a stream", is_there(bench, false).await);
    let known = call::describe(bench, GROUP).await.map_err(|refusal| anyhow!("{refusal}"))?;
    let epoch = known.summary.unwrap_or_default().epoch;
    let again = call::join(bench, v1::JoinRequest { epoch, ..joining(GROUP, "hasty") }).await;
    catalogue.case("it goes on with a new stream", Want::Accepted, &again);
    catalogue.judge("its member has a stream again", is_there(bench, true).await);
    Ok(())
}

async fn is_there(bench: &Bench, is_connected: bool) -> Result<()> {
    let group = call::describe(bench, GROUP).await.map_err(|refusal| anyhow!("{refusal}"))?;
    let members: Vec<_> =
        group.members.iter().map(|it| (it.member_id.as_str(), it.is_connected)).collect();
    ensure!(members == [("hasty", is_connected)], "members {members:?}");
    Ok(())
}
