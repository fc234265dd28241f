//! What lies between two looks: a pure function, and all that is shown. Field names are those of the
//! JSON.

use std::collections::BTreeMap;

use quipu_client::{GroupDescription, NodeDescription};
use serde::Serialize;

use super::sample::{Sample, TopicSample};

/// The cluster between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) cluster_id: String,
    pub(super) controller: Option<u64>,
    pub(super) is_healthy: bool,
    /// Between the looks.
    pub(super) seconds: f64,
    pub(super) nodes: Vec<NodeRow>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) groups: Vec<GroupRow>,
    /// What is not well, and who did not answer.
    pub(super) problems: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NodeRow {
    pub(super) node_id: u64,
    pub(super) address: String,
    pub(super) is_alive: bool,
    pub(super) state: String,
    /// Shards it leads.
    pub(super) leads: usize,
    /// Shards it has a replica of.
    pub(super) replicas: usize,
    /// Of clients; none when it did not answer twice, or began anew.
    pub(super) bytes_in_per_second: Option<f64>,
    pub(super) bytes_out_per_second: Option<f64>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TopicRow {
    pub(super) topic: String,
    pub(super) partitions: usize,
    /// That are kept.
    pub(super) records: u64,
    /// Written; none when the topic is new.
    pub(super) records_per_second: Option<f64>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct GroupRow {
    pub(super) group: String,
    pub(super) state: String,
    pub(super) members: u32,
    pub(super) lag: u64,
    /// Age of the oldest record that is not read.
    pub(super) lag_ms: u64,
    /// Read and acknowledged; none when the group is new.
    pub(super) records_per_second: Option<f64>,
    /// At the present pace; none when it does not catch up.
    pub(super) catches_up_in_seconds: Option<f64>,
}

/// A table to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl View {
    /// What happened from one look to the next.
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.taken.saturating_duration_since(before.taken).as_secs_f64();
        let mut topics: Vec<TopicRow> = now
            .topics
            .iter()
            .map(|(name, topic)| TopicRow::new(name, before.topics.get(name), topic, seconds))
            .collect();
        // The busiest first; those that rest by name.
        topics.sort_by(|a, b| {
            let pace = |row: &TopicRow| row.records_per_second.unwrap_or(0.0);
            pace(b).total_cmp(&pace(a)).then_with(|| a.topic.cmp(&b.topic))
        });
        let earlier: BTreeMap<&str, &GroupDescription> =
            before.groups.iter().map(|group| (group.summary.group.as_str(), group)).collect();
        let mut groups: Vec<GroupRow> = now
            .groups
            .iter()
            .map(|group| {
                GroupRow::new(earlier.get(group.summary.group.as_str()).copied(), group, seconds)
            })
            .collect();
        groups.sort_by(|a, b| b.lag.cmp(&a.lag).then_with(|| a.group.cmp(&b.group)));
        let problems = now.cluster.problems.iter().chain(&now.silent).cloned().collect();
        Self {
            cluster_id: now.cluster.cluster_id.clone(),
            controller: now.cluster.controller,
            is_healthy: now.cluster.is_healthy,
            seconds,
            nodes: now
                .cluster
                .nodes
                .iter()
                .map(|node| NodeRow::new(node, before, now, seconds))
                .collect(),
            topics,
            groups,
            problems,
        }
    }

    /// The cluster in one line.
    pub(super) fn headline(&self) -> String {
        let alive = self.nodes.iter().filter(|node| node.is_alive).count();
        let sum = |of: fn(&NodeRow) -> Option<f64>| {
            let known: Vec<f64> = self.nodes.iter().filter_map(of).collect();
            bytes((!known.is_empty()).then(|| known.iter().sum()))
        };
        format!(
            "{}   {} of {} nodes alive   controller {}   in {}   out {}",
            if self.is_healthy { "healthy" } else { "NOT HEALTHY" },
            alive,
            self.nodes.len(),
            self.controller.map_or_else(|| "-".to_owned(), |node| node.to_string()),
            sum(|node| node.bytes_in_per_second),
            sum(|node| node.bytes_out_per_second),
        )
    }

    /// Nodes, topics, groups.
    pub(super) fn tables(&self) -> Vec<Table> {
        let nodes = self.nodes.iter().map(|node| {
            vec![
                node.node_id.to_string(),
                node.state.clone(),
                node.leads.to_string(),
                node.replicas.to_string(),
                bytes(node.bytes_in_per_second),
                bytes(node.bytes_out_per_second),
                node.address.clone(),
            ]
        });
        let topics = self.topics.iter().map(|topic| {
            vec![
                topic.topic.clone(),
                topic.partitions.to_string(),
                topic.records.to_string(),
                pace(topic.records_per_second),
            ]
        });
        let groups = self.groups.iter().map(|group| {
            vec![
                group.group.clone(),
                group.state.clone(),
                group.members.to_string(),
                group.lag.to_string(),
                format!("{:.1} s", to_f64(group.lag_ms) / 1e3),
                pace(group.records_per_second),
                group.catches_up_in_seconds.map_or_else(|| "-".to_owned(), time),
            ]
        });
        let node_head = vec!["node", "state", "leads", "replicas", "in", "out", "address"];
        let topic_head = vec!["topic", "partitions", "records", "written"];
        let group_head =
            vec!["group", "state", "members", "lag", "lag time", "read", "caught up in"];
        vec![
            Table { header: node_head, rows: nodes.collect() },
            Table { header: topic_head, rows: topics.collect() },
            Table { header: group_head, rows: groups.collect() },
        ]
    }
}

impl NodeRow {
    fn new(node: &NodeDescription, before: &Sample, now: &Sample, seconds: f64) -> Self {
        let id = node.node_id;
        let shards = || now.cluster.shards.iter();
        let traffic = before.traffic.get(&id).zip(now.traffic.get(&id));
        // Counters begin anew with the process.
        let traffic = traffic.filter(|(old, new)| old.since_ms == new.since_ms);
        let liveness = if node.is_alive { "alive" } else { "down" };
        Self {
            node_id: id,
            address: node.address.clone(),
            is_alive: node.is_alive,
            state: match node.state {
                "active" => liveness.to_owned(),
                other => format!("{liveness}, {other}"),
            },
            leads: shards().filter(|shard| shard.leader == Some(id)).count(),
            replicas: shards().filter(|shard| shard.replicas.contains(&id)).count(),
            bytes_in_per_second: traffic
                .and_then(|(old, new)| per_second(old.bytes_in, new.bytes_in, seconds)),
            bytes_out_per_second: traffic
                .and_then(|(old, new)| per_second(old.bytes_out, new.bytes_out, seconds)),
        }
    }
}

impl TopicRow {
    fn new(name: &str, before: Option<&TopicSample>, now: &TopicSample, seconds: f64) -> Self {
        // A topic that was deleted and made again begins anew.
        let before = before.filter(|before| before.topic_id == now.topic_id);
        let written = before.map(|before| {
            let grown = now.bounds.iter().filter_map(|(index, (_, end))| {
                Some(end.saturating_sub(before.bounds.get(index)?.1))
            });
            grown.sum()
        });
        Self {
            topic: name.to_owned(),
            partitions: now.partitions,
            records: now.bounds.values().map(|(start, end)| end.saturating_sub(*start)).sum(),
            records_per_second: written.and_then(|written| per_second(0, written, seconds)),
        }
    }
}

impl GroupRow {
    fn new(before: Option<&GroupDescription>, now: &GroupDescription, seconds: f64) -> Self {
        let lag = lag(now);
        let read = before.map(|before| read(before, now));
        let shrunk = before.and_then(|before| {
            per_second(0, self::lag(before).checked_sub(lag).filter(|shrunk| *shrunk > 0)?, seconds)
        });
        Self {
            group: now.summary.group.clone(),
            state: now.summary.state.clone(),
            members: now.summary.members,
            lag,
            lag_ms: now.partitions.iter().filter_map(|one| one.lag_ms).max().unwrap_or(0),
            records_per_second: read.and_then(|read| per_second(0, read, seconds)),
            catches_up_in_seconds: match lag {
                0 => Some(0.0),
                lag => shrunk.map(|shrunk| to_f64(lag) / shrunk),
            },
        }
    }
}

fn lag(group: &GroupDescription) -> u64 {
    group.partitions.iter().filter_map(|partition| partition.lag).sum()
}

/// How far the positions moved. Who is set back by hand has read nothing.
fn read(before: &GroupDescription, now: &GroupDescription) -> u64 {
    let position = |group: &GroupDescription, topic: &str, index: u32| {
        let mut partitions = group.partitions.iter();
        let found = partitions.find(|one| one.topic == topic && one.partition == index)?;
        Some(found.committed.or(found.log_start).unwrap_or(0))
    };
    let moved = now.partitions.iter().filter_map(|partition| {
        let before = position(before, &partition.topic, partition.partition)?;
        Some(partition.committed?.saturating_sub(before))
    });
    moved.sum()
}

fn per_second(before: u64, now: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| to_f64(now.saturating_sub(before)) / seconds)
}

#[expect(clippy::cast_precision_loss, reason = "for eyes, and for rates")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

fn pace(records: Option<f64>) -> String {
    records.map_or_else(|| "-".to_owned(), |records| format!("{records:.0}/s"))
}

fn bytes(bytes: Option<f64>) -> String {
    let Some(mut bytes) = bytes else { return "-".to_owned() };
    for unit in ["B", "KiB", "MiB"] {
        if bytes < 1024.0 {
            return format!("{bytes:.0} {unit}/s");
        }
        bytes /= 1024.0;
    }
    format!("{bytes:.1} GiB/s")
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3_600.0),
    }
}

#[cfg(test)]
pub(super) mod tests;
