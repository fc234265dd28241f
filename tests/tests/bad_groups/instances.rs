//! Family: two that claim to be one.

use anyhow::{Result, anyhow};
use quipu_proto::v1;
use quipu_types::ErrorCode::{InstanceInUse, UnknownMember};

use crate::bench::{Bench, TOPIC};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::refusal::Refusal;
use crate::seat::{Seat, joining, subscribing};

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("instance");
    held(bench, catalogue).await?;
    superseded(bench, catalogue).await?;
    fenced(bench, catalogue).await
}

async fn seated(bench: &Bench, request: v1::JoinRequest) -> Result<Seat> {
    let joined = call::join(bench, request).await;
    joined.map_err(|refusal: Refusal| anyhow!("join: {refusal}"))
}

/// An instance id has one live holder.
async fn held(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let desk = |member: &str| {
        let (topics, instance_id) = (vec![TOPIC.to_owned()], "desk-1".to_owned());
        let subscription = v1::Subscription { topics, instance_id, ..Default::default() };
        subscribing("bad.instances", member, subscription)
    };
    let mut first = seated(bench, desk("one")).await?;
    let words = "instance \"desk-1\" is held by member one, which is alive: give each running \
                 instance its own id";
    let reply = call::join(bench, desk("two")).await;
    catalogue.case("a second live holder", (InstanceInUse, words), &reply);
    catalogue.case("the first one stays", Want::Accepted, &first.beat().await);
    let leaving = v1::Leaving::Temporarily.into();
    let away = first.say(v1::JoinRequest { leaving, ..v1::JoinRequest::default() }).await;
    catalogue.case("the first one goes for a while", Want::Accepted, &away);
    let reply = call::join(bench, desk("two")).await;
    catalogue.case("a holder while the first is away", Want::Accepted, &reply);
    let back = v1::JoinRequest { epoch: first.epoch, ..desk("one") };
    let want = (UnknownMember, "does not know member one (any more)");
    catalogue.case("the first one comes back too late", want, &call::join(bench, back).await);
    Ok(())
}

/// A member has one stream: the newest.
async fn superseded(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    const GROUP: &str = "bad.instances.streams";
    let mut old = seated(bench, joining(GROUP, "one")).await?;
    let again = v1::JoinRequest { epoch: old.epoch, ..joining(GROUP, "one") };
    let mut new = seated(bench, again).await?;
    let want = (UnknownMember, "another stream of member one took over");
    catalogue.case("the older of two streams", want, &old.beat().await);
    catalogue.case("the newer of two streams", Want::Accepted, &new.beat().await);
    Ok(())
}

/// A member that was fenced hears so, and commits no more.
async fn fenced(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    const GROUP: &str = "bad.instances.fenced";
    let mut seat = seated(bench, joining(GROUP, "one")).await?;
    let epoch = seat.epoch;
    let reset = call::reset(bench, GROUP, vec![bench.position(0, 5)], true).await;
    catalogue.case("a reset that fences", Want::Accepted, &reset);
    let want = Want::from((UnknownMember, "join again with epoch 0"));
    catalogue.case("the fenced member", want.clone(), &seat.last().await);
    let again = v1::JoinRequest { epoch, ..joining(GROUP, "one") };
    catalogue.case("its old epoch", want.clone(), &call::join(bench, again).await);
    let commit = call::committing(GROUP, Some(("one", epoch)), vec![bench.position(0, 9)]);
    catalogue.case("its commit", want, &call::commit(bench, commit).await);
    let stored = call::fetch(bench, GROUP, Vec::new()).await.map_err(|it| anyhow!("{it}"))?;
    let stored: Vec<u64> = stored.offsets.iter().map(|stored| stored.offset).collect();
    let judged = if stored == [5] { Ok(()) } else { Err(anyhow!("stored {stored:?}")) };
    catalogue.judge("the position stays where it was set", judged);
    Ok(())
}
