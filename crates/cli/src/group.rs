//! `quipu group`: who reads what, how far, and setting it by hand.

use std::collections::BTreeMap;

use anyhow::ensure;
use quipu_client::{Admin, Client, Group, GroupDescription, GroupPartition, Start};
use quipu_types::TimestampMs;
use serde::Serialize;

use crate::args::{Format, Global, GroupVerb, ResetArgs};
use crate::cluster::optional;
use crate::exit::{Failure, NOT_FOUND};
use crate::topic::confirm;
use crate::{connect, output, start_point, top};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: GroupVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let client = connect::client(global).await?;
        let admin = client.admin();
        match verb {
            GroupVerb::List => list(global, &admin.list_groups().await?),
            GroupVerb::Describe { group } => describe(global, &admin.describe_group(&group).await?),
            GroupVerb::Members { group } => members(global, &admin.describe_group(&group).await?),
            GroupVerb::Lag { group, watch: None } => {
                lag(global, &admin.describe_group(&group).await?)
            }
            GroupVerb::Lag { group, watch: Some(every) } => {
                let look = async || lag(global, &admin.describe_group(&group).await?);
                top::again(&every, look).await
            }
            GroupVerb::Stuck { group } => stuck(global, &admin, group).await,
            GroupVerb::Reset(args) => reset(global, &client, args).await,
            GroupVerb::Delete { group, yes } => {
                confirm(&group, yes, "deletes the group and its positions")?;
                admin.delete_group(&group).await?;
                output::note(&format!("group {group} is deleted"));
                Ok(())
            }
        }
    })
}

fn list(global: &Global, groups: &[Group]) -> anyhow::Result<()> {
    match global.output {
        Format::Json => output::json(&groups),
        Format::Raw => groups.iter().try_for_each(|group| output::line(&group.group)),
        Format::Table => {
            let rows = groups.iter().map(|group| {
                vec![
                    group.group.clone(),
                    group.state.clone(),
                    group.members.to_string(),
                    group.positions.to_string(),
                    group.epoch.to_string(),
                ]
            });
            output::table(&["group", "state", "members", "positions", "epoch"], rows)
        }
    }
}

fn describe(global: &Global, group: &GroupDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(group);
    }
    output::note(&format!(
        "{}: {}, epoch {}, assignor {}, coordinated by node {}",
        group.summary.group,
        group.summary.state,
        group.summary.epoch,
        group.assignor,
        group.coordinator
    ));
    let changed = start_point::time(TimestampMs::new(group.changed_at_ms));
    output::note(&format!("last change: {} ({changed})", group.last_change));
    members(global, group)?;
    lag(global, group)
}

fn members(global: &Global, group: &GroupDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(&group.members);
    }
    let rows = group.members.iter().map(|member| {
        vec![
            member.member_id.clone(),
            or_dash(&member.instance_id),
            or_dash(&member.client),
            or_dash(&member.host),
            if member.is_connected { "yes" } else { "no" }.to_owned(),
            optional(member.silent_ms.map(seconds)),
            optional(member.expires_in_ms.map(seconds)),
            shown(&member.assigned),
            shown(&member.revoking),
        ]
    });
    let head = [
        "member",
        "instance",
        "service",
        "host",
        "connected",
        "silent",
        "expires in",
        "reads",
        "lets go",
    ];
    output::table(&head, rows)
}

fn lag(global: &Global, group: &GroupDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(&group.partitions);
    }
    let rows = group.partitions.iter().map(|partition| {
        vec![
            name(partition),
            partition.owner.clone().unwrap_or_else(|| "-".to_owned()),
            optional(partition.committed),
            optional(partition.end),
            optional(partition.lag),
            optional(partition.lag_ms.map(seconds)),
        ]
    });
    output::table(&["partition", "owner", "committed", "end", "lag", "lag time"], rows)
}

/// A partition nobody gets on with.
#[derive(Serialize)]
struct Stuck {
    group: String,
    partition: String,
    position: Option<u64>,
    lag: u64,
    lag_ms: u64,
    owner: Option<String>,
    why: String,
}

/// Partitions with something to read, the oldest first, and why nobody does.
async fn stuck(global: &Global, admin: &Admin, group: Option<String>) -> anyhow::Result<()> {
    let names = match group {
        Some(group) => vec![group],
        None => admin.list_groups().await?.into_iter().map(|group| group.group).collect(),
    };
    let mut found = Vec::new();
    for name in names {
        let group = admin.describe_group(&name).await?;
        found.extend(group.partitions.iter().filter_map(|partition| why(&group, partition)));
    }
    found.sort_by_key(|stuck| std::cmp::Reverse(stuck.lag_ms));
    if global.output == Format::Json {
        return output::json(&found);
    }
    let rows = found.into_iter().map(|stuck| {
        vec![
            stuck.group,
            stuck.partition,
            optional(stuck.position),
            stuck.lag.to_string(),
            seconds(stuck.lag_ms),
            stuck.owner.unwrap_or_else(|| "-".to_owned()),
            stuck.why,
        ]
    });
    let head = ["group", "partition", "oldest unacked", "lag", "lag time", "owner", "why"];
    output::table(&head, rows)
}

fn why(group: &GroupDescription, partition: &GroupPartition) -> Option<Stuck> {
    let lag = partition.lag.filter(|lag| *lag > 0)?;
    let owner = partition.owner.as_ref();
    let member =
        owner.and_then(|owner| group.members.iter().find(|member| member.member_id == *owner));
    let name = name(partition);
    let why = match (owner, member) {
        (None, _) if group.members.is_empty() => "the group has no members".to_owned(),
        (None, _) => "no member reads the topic".to_owned(),
        (Some(_), None) => "its owner is no member any more".to_owned(),
        (Some(_), Some(member)) if member.revoking.contains(&name) => {
            "its owner was told to let it go and has not confirmed".to_owned()
        }
        (Some(_), Some(member)) if !member.is_connected => {
            let left = optional(member.expires_in_ms.map(seconds));
            format!("its owner is not connected; it is expired in {left}")
        }
        (Some(_), Some(_)) if partition.committed.is_none() => "nothing was acked yet".to_owned(),
        (Some(_), Some(_)) => match partition.committed_at_ms {
            Some(at) => format!("last acked {}", start_point::time(TimestampMs::new(at))),
            None => "nothing was acked yet".to_owned(),
        },
    };
    Some(Stuck {
        group: group.summary.group.clone(),
        partition: name,
        position: partition.committed,
        lag,
        lag_ms: partition.lag_ms.unwrap_or_default(),
        owner: partition.owner.clone(),
        why,
    })
}

/// One line of a reset.
#[derive(Serialize)]
struct Move {
    topic: String,
    partition: u32,
    before: Option<u64>,
    after: u64,
}

async fn reset(global: &Global, client: &Client, args: ResetArgs) -> anyhow::Result<()> {
    let to = start_point::start(&args.to)?;
    let admin = client.admin();
    let stored = match admin.fetch_offsets(&args.group).await {
        Ok(stored) => stored,
        Err(error) if error.is_not_found() => BTreeMap::new(),
        Err(error) => return Err(error.into()),
    };
    let mut topics = args.topics.clone();
    if topics.is_empty() {
        topics = stored.keys().map(|partition| partition.topic.to_string()).collect();
        topics.dedup();
    }
    if topics.is_empty() {
        let message =
            format!("group {} has no positions: name the topics with --topic", args.group);
        return Err(Failure::with_code(NOT_FOUND, message));
    }
    let mut moves = Vec::new();
    for topic in topics {
        let after = positions(client, &topic, to).await?;
        for (partition, after) in after.into_iter().filter(|(at, _)| args.takes(*at)) {
            let key = quipu_client::TopicPartition::new(topic.as_str(), partition);
            let before = stored.get(&key).map(|stored| stored.offset);
            moves.push(Move { topic: topic.clone(), partition, before, after });
        }
    }
    ensure!(!moves.is_empty(), "no partition is named by --partition");
    show(global, &moves)?;
    if args.dry_run {
        output::note("nothing was changed (--dry-run)");
        return Ok(());
    }
    confirm(&args.group, args.yes, "moves the group's positions")?;
    let offsets = moves.into_iter().map(|one| (one.topic, one.partition, one.after));
    admin.reset_offsets(&args.group, offsets, args.fence).await?;
    output::note(&format!("group {} goes on from there", args.group));
    Ok(())
}

/// Where a reader that starts there would begin.
async fn positions(client: &Client, topic: &str, to: Start) -> anyhow::Result<BTreeMap<u32, u64>> {
    Ok(client.reader(topic).from(to).open().await?.positions())
}

fn show(global: &Global, moves: &[Move]) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(&moves);
    }
    let rows = moves.iter().map(|one| {
        vec![
            format!("{}/{}", one.topic, one.partition),
            optional(one.before),
            one.after.to_string(),
        ]
    });
    output::table(&["partition", "before", "after"], rows)
}

fn name(partition: &GroupPartition) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A list for a column: the first few.
fn shown(partitions: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = partitions.len().saturating_sub(SHOWN);
    let first = partitions.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match more {
        0 => or_dash(&first),
        more => format!("{first} +{more}"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}
