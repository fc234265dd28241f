//! `quipu topic`: creates, shows, changes and deletes topics.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use quipu_client::{Admin, GrownTopic, NewTopic, TopicChange, TopicDescription};
use quipu_types::ErrorCode;
use serde::Serialize;

use crate::args::{Format, Global, TopicVerb};
use crate::cluster::{join, optional};
use crate::exit::Failure;
use crate::{connect, output, waiting};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: TopicVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let admin = connect::client(global).await?.admin();
        match verb {
            TopicVerb::Create { name, partitions, replication, config, dry_run, if_not_exists } => {
                let mut topic = NewTopic::new(name).partitions(partitions).replication(replication);
                topic.config = pairs(&config)?;
                topic.validate_only = dry_run;
                create(global, &admin, topic, if_not_exists).await
            }
            TopicVerb::List => list(global, &admin.list_topics().await?),
            TopicVerb::Describe { name } => describe(global, &admin.describe_topic(&name).await?),
            TopicVerb::Delete { name, yes } => {
                confirm(&name, yes, "deletes the topic and all its events")?;
                admin.delete_topic(&name).await?;
                output::note(&format!("topic {name} is deleted"));
                Ok(())
            }
            TopicVerb::Alter { name, config, reset, dry_run } => {
                let mut change = TopicChange::new(name);
                change.set = pairs(&config)?;
                change.reset = reset;
                change.validate_only = dry_run;
                describe(global, &admin.alter_topic(change).await?)
            }
            TopicVerb::AddPartitions { name, to, dry_run } => {
                let grown = if dry_run {
                    admin.preview_add_partitions(&name, to).await?
                } else {
                    admin.add_partitions(&name, to).await?
                };
                show_growth(global, &Growth::new(&grown, dry_run))
            }
            TopicVerb::SetReplication { name, replicas, dry_run: true, .. } => {
                let topic = admin.preview_set_replication(&name, replicas).await?;
                describe(global, &topic)?;
                output::note("nothing was changed (--dry-run)");
                Ok(())
            }
            TopicVerb::SetReplication { name, replicas, no_wait, .. } => {
                let topic = admin.set_replication(&name, replicas).await?;
                if no_wait {
                    return describe(global, &topic);
                }
                waiting::for_partitions(&admin, &name).await?;
                describe(global, &admin.describe_topic(&name).await?)
            }
            TopicVerb::Trim { name, partition, before, yes } => {
                confirm(&name, yes, "deletes events for good")?;
                let log_start = admin.delete_records(&name, partition, before).await?;
                output::note(&format!("{name}/{partition} starts at offset {log_start}"));
                Ok(())
            }
        }
    })
}

async fn create(
    global: &Global,
    admin: &Admin,
    topic: NewTopic,
    if_not_exists: bool,
) -> anyhow::Result<()> {
    let (name, is_dry) = (topic.name.clone(), topic.validate_only);
    match admin.create_topic(topic).await {
        Ok(_) if is_dry => {
            output::note(&format!("topic {name} could be created"));
            Ok(())
        }
        Ok(created) => describe(global, &created),
        Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicExists) => {
            output::note(&format!("topic {name} exists already"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn list(global: &Global, topics: &[TopicDescription]) -> anyhow::Result<()> {
    match global.output {
        Format::Json => output::json(&topics),
        Format::Raw => topics.iter().try_for_each(|topic| output::line(&topic.name)),
        Format::Table => {
            let rows = topics.iter().map(|topic| {
                vec![
                    topic.name.clone(),
                    topic.partitions.len().to_string(),
                    topic.replication.to_string(),
                    topic.topic_id.clone(),
                ]
            });
            output::table(&["topic", "partitions", "replication", "id"], rows)
        }
    }
}

fn describe(global: &Global, topic: &TopicDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(topic);
    }
    output::line(&format!(
        "topic {}   id {}   replication {}",
        topic.name, topic.topic_id, topic.replication
    ))?;
    let partitions = topic.partitions.iter().map(|partition| {
        vec![
            partition.index.to_string(),
            optional(partition.leader),
            join(&partition.replicas),
            match partition.moving_to {
                Some(to) => format!("{} -> {to}", partition.shard),
                None => partition.shard.to_string(),
            },
            optional(partition.log_start),
            optional(partition.high_watermark),
            optional(partition.size_bytes),
        ]
    });
    let header = ["partition", "leader", "replicas", "shard", "start", "end", "bytes"];
    output::table(&header, partitions)?;
    let config = topic.config.iter().map(|entry| {
        let origin = match &entry.policy {
            Some(pattern) => format!("policy {pattern}"),
            None if entry.is_default => "default".to_owned(),
            None => "set".to_owned(),
        };
        vec![entry.key.clone(), entry.value.clone(), origin]
    });
    output::table(&["setting", "value", "origin"], config)
}

/// What became of a topic's number of partitions.
#[derive(Serialize)]
struct Growth {
    topic: String,
    before: u32,
    after: usize,
    is_changed: bool,
    is_dry_run: bool,
}

impl Growth {
    fn new(grown: &GrownTopic, is_dry_run: bool) -> Self {
        Self {
            topic: grown.topic.name.clone(),
            before: grown.before,
            after: grown.topic.partitions.len(),
            is_changed: grown.is_changed,
            is_dry_run,
        }
    }
}

fn show_growth(global: &Global, growth: &Growth) -> anyhow::Result<()> {
    let Growth { topic, before, after, is_changed, is_dry_run } = growth;
    match global.output {
        Format::Json => output::json(growth)?,
        Format::Raw => output::line(&after.to_string())?,
        Format::Table => output::table(
            &["topic", "before", "after"],
            [vec![topic.clone(), before.to_string(), after.to_string()]],
        )?,
    }
    if !is_changed {
        output::note(&format!("topic {topic} has {after} partitions already: no change"));
        return Ok(());
    }
    let map = if *is_dry_run { "would map" } else { "map" };
    output::note(&format!(
        "warning: keys {map} to other partitions from now on; the order of a key's events holds \
         among those published before, and among those published after"
    ));
    if *is_dry_run {
        output::note("nothing was changed (--dry-run)");
    }
    Ok(())
}

/// `key=value` flags as a map.
pub(crate) fn pairs(flags: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    flags
        .iter()
        .map(|flag| {
            let (key, value) = flag
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--config {flag}: write key=value")))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Asks for the name before something is lost.
pub(crate) fn confirm(name: &str, yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this {what}: pass --yes")));
    }
    output::note(&format!("this {what}. Type {name} to go on:"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == name {
        return Ok(());
    }
    Err(Failure::usage("not confirmed; nothing was changed"))
}
