//! `quipu partition`: how far each replica of a partition is, and moves by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use indicatif::{HumanBytes, HumanDuration};
use quipu_client::{
    Admin, NodeId, PartitionDescription, ReplicaDescription, ShardId, SnapshotReceipt,
};
use serde::Serialize;

use crate::args::{Format, Global, PartitionVerb};
use crate::exit::{Failure, NOT_FOUND};
use crate::{connect, output, waiting};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: PartitionVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let admin = connect::client(global).await?.admin();
        match verb {
            PartitionVerb::Move { topic, partitions, to, no_wait } => {
                let to = ShardId::new(to);
                let to: BTreeMap<u32, ShardId> =
                    partitions.into_iter().map(|index| (index, to)).collect();
                admin.move_partitions(&topic, &to).await?;
                if no_wait { Ok(()) } else { waiting::for_partitions(&admin, &topic).await }
            }
            PartitionVerb::Describe { topic, partition } => {
                show(global, &look(&admin, &topic, partition).await?)
            }
        }
    })
}

/// A partition with its replicas, for scripts.
#[derive(Debug, Serialize)]
struct Progress {
    topic: String,
    partition: u32,
    shard: u32,
    leader: Option<u64>,
    is_in_sync: bool,
    replicas: Vec<Replica>,
}

#[derive(Debug, Serialize)]
struct Replica {
    node: u64,
    state: State,
    /// Why the node says nothing.
    problem: Option<String>,
    #[serde(flatten)]
    said: Option<ReplicaDescription>,
    /// Entries of the shard that the leader has and this one has not applied.
    lag_entries: Option<u64>,
    /// Records of the partition that the leader has and this one has not.
    lag_records: Option<u64>,
    transfer: Option<Transfer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Leads,
    InSync,
    Behind,
    ReceivesSnapshot,
    Unreachable,
    /// Nobody leads, so nobody knows.
    Unknown,
}

/// A snapshot that comes, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Transfer {
    bytes_done: u64,
    /// By the bytes that a record had so far.
    bytes_total: Option<u64>,
    records_done: u64,
    records_total: u64,
    bytes_per_second: Option<u64>,
    /// Milliseconds until it is whole, at this rate.
    eta_ms: Option<u64>,
}

impl Transfer {
    fn of(receipt: &SnapshotReceipt) -> Self {
        let SnapshotReceipt { bytes, records, records_missing, elapsed_ms } = *receipt;
        let records_total = records + records_missing;
        let bytes_total = share(bytes, records_total, records);
        let left = bytes_total.map(|total| total.saturating_sub(bytes));
        Self {
            bytes_done: bytes,
            bytes_total,
            records_done: records,
            records_total,
            bytes_per_second: share(bytes, 1_000, elapsed_ms),
            eta_ms: left.and_then(|left| share(left, elapsed_ms, bytes)),
        }
    }
}

/// `value × times / parts`, if there are any.
fn share(value: u64, times: u64, parts: u64) -> Option<u64> {
    let whole = u128::from(value) * u128::from(times);
    whole.checked_div(parts.into()).map(|share| u64::try_from(share).unwrap_or(u64::MAX))
}

async fn look(admin: &Admin, topic: &str, index: u32) -> anyhow::Result<Progress> {
    let described = admin.describe_topic(topic).await?;
    let partition = described.partitions.into_iter().find(|it| it.index == index);
    let unknown =
        || Failure::with_code(NOT_FOUND, format!("topic {topic} has no partition {index}"));
    let partition = partition.ok_or_else(unknown)?;
    let asked = partition.replicas.iter().map(|node| async move {
        (*node, admin.describe_replica(NodeId::new(*node), topic, index).await)
    });
    let said = join_all(asked).await.into_iter().map(|(node, said)| {
        let said = said.map_err(|error| error.to_string());
        (node, said)
    });
    Ok(progress(topic, &partition, said.collect()))
}

fn progress(
    topic: &str,
    partition: &PartitionDescription,
    said: Vec<(u64, Result<ReplicaDescription, String>)>,
) -> Progress {
    let leads = |it: &&ReplicaDescription| it.role == "leader";
    let leader = said.iter().filter_map(|(_, said)| said.as_ref().ok()).find(leads).cloned();
    let replicas: Vec<Replica> =
        said.into_iter().map(|(node, said)| replica(node, said, leader.as_ref())).collect();
    let is_fine = |it: &Replica| matches!(it.state, State::Leads | State::InSync);
    Progress {
        topic: topic.to_owned(),
        partition: partition.index,
        shard: partition.shard,
        leader: leader.map(|it| it.node_id).or(partition.leader),
        is_in_sync: replicas.iter().all(is_fine),
        replicas,
    }
}

fn replica(
    node: u64,
    said: Result<ReplicaDescription, String>,
    leader: Option<&ReplicaDescription>,
) -> Replica {
    let (said, problem) = match said {
        Ok(said) => (Some(said), None),
        Err(problem) => (None, Some(problem)),
    };
    let lag = |of: fn(&ReplicaDescription) -> Option<u64>, here: Option<u64>| {
        Some(of(leader?)?.saturating_sub(here.unwrap_or(0)))
    };
    let both = said.as_ref();
    let lag_entries = both.and_then(|it| lag(|leader| leader.last_index, it.applied_index));
    let lag_records = both.and_then(|it| lag(|leader| leader.high_watermark, it.high_watermark));
    let transfer = both.and_then(|it| it.receiving.as_ref()).map(Transfer::of);
    let state = match (both, lag_entries) {
        (None, _) => State::Unreachable,
        (Some(said), _) if said.role == "leader" => State::Leads,
        (Some(said), _) if said.receiving.is_some() => State::ReceivesSnapshot,
        (Some(_), None) => State::Unknown,
        (Some(_), Some(_)) if lag_records == Some(0) => State::InSync,
        (Some(_), Some(_)) => State::Behind,
    };
    Replica { node, state, problem, said, lag_entries, lag_records, transfer }
}

fn show(global: &Global, progress: &Progress) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(progress);
    }
    let Progress { topic, partition, shard, .. } = progress;
    output::line(&format!("{topic}/{partition}   shard {shard}"))?;
    let rows = progress.replicas.iter().map(|replica| {
        let said = replica.said.as_ref();
        vec![
            replica.node.to_string(),
            said.map_or_else(|| "-".to_owned(), |said| said.role.clone()),
            words(replica.state).to_owned(),
            number(said.and_then(|said| said.high_watermark)),
            number(replica.lag_records),
            number(said.and_then(|said| said.applied_index)),
            number(replica.lag_entries),
            said.map_or_else(|| "-".to_owned(), |said| HumanBytes(said.size_bytes).to_string()),
            replica.transfer.as_ref().map_or_else(|| "-".to_owned(), sentence),
        ]
    });
    let header =
        ["node", "role", "state", "end", "lag", "applied", "entries lag", "bytes", "snapshot"];
    output::table(&header, rows)?;
    for replica in &progress.replicas {
        if let Some(problem) = &replica.problem {
            output::note(&format!("node {}: {problem}", replica.node));
        }
    }
    Ok(())
}

const fn words(state: State) -> &'static str {
    match state {
        State::Leads => "leads",
        State::InSync => "in sync",
        State::Behind => "behind",
        State::ReceivesSnapshot => "receives a snapshot",
        State::Unreachable => "unreachable",
        State::Unknown => "unknown",
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn sentence(transfer: &Transfer) -> String {
    let done = HumanBytes(transfer.bytes_done);
    let total = transfer.bytes_total.map(|total| format!(" of about {}", HumanBytes(total)));
    let rate = transfer.bytes_per_second.map(|rate| format!(", {}/s", HumanBytes(rate)));
    let eta = transfer.eta_ms.map(Duration::from_millis);
    let eta = eta.map(|eta| format!(", {} to go", HumanDuration(eta)));
    [Some(done.to_string()), total, rate, eta].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(node_id: u64, role: &str, end: u64, applied: u64) -> ReplicaDescription {
        ReplicaDescription {
            node_id,
            shard: 4,
            role: role.to_owned(),
            log_start: Some(0),
            high_watermark: Some(end),
            size_bytes: 10,
            last_index: Some(applied),
            committed_index: Some(applied),
            applied_index: Some(applied),
            receiving: None,
        }
    }

    fn partition() -> PartitionDescription {
        PartitionDescription {
            index: 2,
            shard: 4,
            leader: Some(1),
            replicas: vec![1, 2, 3],
            log_start: None,
            high_watermark: None,
            size_bytes: None,
            moving_to: None,
        }
    }

    #[test]
    fn each_replica_is_compared_with_the_one_that_leads() {
        let receipt =
            SnapshotReceipt { bytes: 1_000, records: 10, records_missing: 30, elapsed_ms: 500 };
        let behind = ReplicaDescription {
            receiving: Some(receipt),
            high_watermark: None,
            ..said(3, "learner", 0, 7)
        };
        let all = vec![
            (1, Ok(said(1, "leader", 500, 90))),
            (2, Ok(said(2, "follower", 500, 89))),
            (3, Ok(behind)),
            (4, Ok(said(4, "follower", 400, 80))),
            (5, Err("no answer".to_owned())),
        ];
        let progress = progress("fees", &partition(), all);
        let states: Vec<State> = progress.replicas.iter().map(|it| it.state).collect();
        let expected = [
            State::Leads,
            State::InSync,
            State::ReceivesSnapshot,
            State::Behind,
            State::Unreachable,
        ];
        assert_eq!(states, expected);
        assert!(!progress.is_in_sync);
        let lags: Vec<_> =
            progress.replicas.iter().map(|it| (it.lag_records, it.lag_entries)).collect();
        let pair = |records, entries| (Some(records), Some(entries));
        assert_eq!(lags, [pair(0, 0), pair(0, 1), pair(500, 83), pair(100, 10), (None, None)]);
        let transfer = progress.replicas[2].transfer.unwrap();
        assert_eq!((transfer.bytes_total, transfer.records_total), (Some(4_000), 40));
        assert_eq!((transfer.bytes_per_second, transfer.eta_ms), (Some(2_000), Some(1_500)));
        let json = serde_json::to_value(&progress).unwrap();
        assert_eq!(json["replicas"][2]["transfer"]["bytes_done"], 1_000);
        assert_eq!(json["replicas"][2]["state"], "receives-snapshot");
        assert_eq!(json["replicas"][1]["role"], "follower");
        assert_eq!(sentence(&transfer), "1000 B of about 3.91 KiB, 1.95 KiB/s, 2 seconds to go");
    }

    #[test]
    fn without_a_leader_nobody_is_behind_and_a_transfer_that_has_just_begun_has_no_end() {
        let alone = progress("fees", &partition(), vec![(2, Ok(said(2, "candidate", 5, 5)))]);
        assert_eq!((alone.replicas[0].state, alone.leader), (State::Unknown, Some(1)));
        let begun = SnapshotReceipt { bytes: 0, records: 0, records_missing: 9, elapsed_ms: 0 };
        let begun = Transfer::of(&begun);
        assert_eq!((begun.bytes_total, begun.bytes_per_second, begun.eta_ms), (None, None, None));
    }
}
