//! A member that does nothing wrong, in a group of its own, while others do.

use anyhow::{Result, anyhow, ensure};
use quipu_proto::v1;

use crate::bench::{Bench, PARTITIONS};
use crate::call;
use crate::refusal::{Refusal, Reply};
use crate::seat::{Seat, joining};

const GROUP: &str = "good.bystander";
const MEMBER: &str = "bystander";
/// Longer than any family: what it loses, it loses to somebody.
const SESSION_TIMEOUT_MS: u32 = 300_000;

/// The member, and how it was at first.
pub(crate) struct Bystander {
    seat: Seat,
    epoch: u64,
    /// What it committed last.
    offset: u64,
}

impl Bystander {
    /// Joins and waits for all partitions.
    pub(crate) async fn sit(bench: &Bench) -> Result<Self> {
        let mut seat = fine("join", call::join(bench, request(bench, 0)).await)?;
        fine("wait for all partitions", seat.owns(PARTITIONS).await)?;
        let epoch = seat.epoch;
        Ok(Self { seat, epoch, offset: 0 })
    }

    /// It is heard, has what it had in the epoch it had it, and can commit.
    pub(crate) async fn is_unmoved(&mut self, bench: &Bench) -> Result<()> {
        match self.seat.beat().await {
            // The group is coordinated elsewhere by now, which nobody is to blame for.
            Err(refusal) if refusal.is_passing() => {
                let again = call::join(bench, request(bench, self.epoch)).await;
                self.seat = fine("go on elsewhere", again)?;
            }
            beat => fine("heartbeat", beat)?,
        }
        let (epoch, partitions) = (self.seat.epoch, self.seat.partitions());
        ensure!(epoch == self.epoch, "epoch {epoch}, not {}", self.epoch);
        let all: Vec<u32> = (0..PARTITIONS).collect();
        ensure!(partitions == all, "it has partitions {partitions:?}");
        self.offset += 1;
        let offsets = (0..PARTITIONS).map(|partition| bench.position(partition, self.offset));
        let commit = call::committing(GROUP, Some((MEMBER, epoch)), offsets.collect());
        fine("commit", call::commit(bench, commit).await)?;
        let stored = fine("fetch", call::fetch(bench, GROUP, Vec::new()).await)?;
        let stored: Vec<u64> = stored.offsets.iter().map(|stored| stored.offset).collect();
        ensure!(stored == vec![self.offset; all.len()], "stored {stored:?}, not {}", self.offset);
        let group = fine("describe", call::describe(bench, GROUP).await)?;
        let members: Vec<_> =
            group.members.iter().map(|it| (it.member_id.as_str(), it.is_connected)).collect();
        ensure!(members == [(MEMBER, true)], "members {members:?}");
        Ok(())
    }
}

fn request(bench: &Bench, epoch: u64) -> v1::JoinRequest {
    let mut request = joining(GROUP, MEMBER);
    if let Some(subscription) = &mut request.subscription {
        subscription.session_timeout_ms = SESSION_TIMEOUT_MS;
    }
    let partitions = if epoch == 0 { Vec::new() } else { vec![bench.partitions(0..PARTITIONS)] };
    v1::JoinRequest { epoch, held: Some(v1::HeldPartitions { partitions }), ..request }
}

fn fine<T>(what: &str, reply: Reply<T>) -> Result<T> {
    reply.map_err(|refusal: Refusal| anyhow!("{what}: {refusal}"))
}
