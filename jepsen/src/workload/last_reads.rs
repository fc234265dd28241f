//! The end of a run: everything is read once more from the begin, and replicas are compared.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use quipu_client::{Client, NodeId};
use quipu_testkit::until;

use super::admin::offsets;
use super::bare::Bare;
use super::fetcher::{fetch, next_of};
use super::place::Place;
use crate::history::{Event, Recorder, ReplicaSeen, Session};

/// How long a partition may take to be read.
const READ_WAIT: Duration = Duration::from_secs(120);
/// How long replicas may take to be alike.
const ALIKE_WAIT: Duration = Duration::from_secs(60);
/// The answer comes at once, with whatever is there.
const AT_ONCE_MS: u32 = 1;

/// Reads every partition from its log start until an answer's high watermark is reached.
pub(super) async fn read_all(recorder: &Recorder, bare: &mut Bare) -> Result<()> {
    let session = recorder.session(None);
    for place in Place::all() {
        let (mut position, known) = bounds(&session, bare, &place).await?;
        loop {
            let (next, end) = step(&session, bare, &place, position).await?;
            position = next;
            // An answer about an empty partition may name no bounds.
            if position >= end.unwrap_or(known) {
                break;
            }
        }
    }
    Ok(())
}

async fn bounds(session: &Session, bare: &mut Bare, place: &Place) -> Result<(u64, u64)> {
    let bare = tokio::sync::Mutex::new(bare);
    until("the bounds of a partition", READ_WAIT, || async {
        let mut bare = bare.lock().await;
        bare.look().await?;
        let node = bare.leader(place).context("no leader")?;
        offsets(session, &bare, node, place).await.map_err(|error| anyhow!("{}", error.code))
    })
    .await
}

/// One fetch that is answered: where reading goes on, and the end that was told.
async fn step(
    session: &Session,
    bare: &mut Bare,
    place: &Place,
    from: u64,
) -> Result<(u64, Option<u64>)> {
    let bare = tokio::sync::Mutex::new(bare);
    until("a fetch to be answered", READ_WAIT, || async {
        let mut bare = bare.lock().await;
        let node = bare.leader(place).context("no leader")?;
        match fetch(session, &bare, node, (place, from), AT_ONCE_MS).await {
            Ok(polled) => Ok((next_of(&polled, from), polled.high_watermark)),
            Err(error) => {
                bare.look().await?;
                Err(anyhow!("{}", error.code))
            }
        }
    })
    .await
}

/// Compares the replicas of every partition once all have the same bounds.
pub(super) async fn compare(recorder: &Recorder, client: &Client) -> Result<()> {
    let admin = client.admin();
    for place in Place::all() {
        let alike = until("replicas of the same length", ALIKE_WAIT, || async {
            let mut found = Vec::new();
            let topic = admin.describe_topic(&place.topic).await?;
            let partition = topic.partitions.into_iter().find(|it| it.index == place.index);
            for node in partition.context("the partition")?.replicas {
                let id = NodeId::new(node);
                found.push(admin.partition_checksum(id, &place.topic, place.index).await?);
            }
            let bounds = |at: usize| (found[at].log_start, found[at].high_watermark);
            ensure!((1..found.len()).all(|at| bounds(at) == bounds(0)), "{found:?}");
            Ok(found)
        });
        for replica in alike.await? {
            let seen = ReplicaSeen {
                partition: place.name(),
                term: 0,
                vote: None,
                committed: 0,
                applied: 0,
                log_start: replica.log_start,
                end: replica.high_watermark,
                round: Some(1),
                digest: Some(u64::from(replica.crc32c)),
                producers: None,
                groups: None,
            };
            recorder.observe(Some(replica.node_id), Event::Replica(seen));
        }
    }
    Ok(())
}
