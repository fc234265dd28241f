//! From what is declared to what would change. The cluster itself checks every part, and changes
//! nothing meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use quipu_client::{Admin, NewTopic, Policy, TopicChange, TopicDescription};
use serde::Serialize;

use super::topology::{PolicySpec, TopicSpec, Topology, own_settings};

/// What would change, in the order in which it is done, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Planned>,
    pub(super) refused: Vec<Refused>,
    /// How many declared items are as declared.
    pub(super) unchanged: usize,
    /// Topics and policies that the file does not name; they stay.
    pub(super) others: usize,
}

/// A change and how it is made.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) change: Change,
    pub(super) step: Step,
}

/// A change as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// `create`, `change` or `delete`.
    pub(super) action: &'static str,
    pub(super) details: Vec<Detail>,
}

/// One value of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Detail {
    pub(super) key: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// Something that cannot be as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refused {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) reason: String,
}

/// A call of the cluster, or two.
#[derive(Debug)]
pub(super) enum Step {
    SetPolicy(Policy),
    CreateTopic(NewTopic),
    ChangeTopic {
        name: String,
        replication: Option<u32>,
        partitions: Option<u32>,
        settings: Option<TopicChange>,
    },
    DeleteTopic(String),
    DeletePolicy(String),
}

impl Step {
    /// Whether something is lost by it.
    pub(super) const fn deletes(&self) -> bool {
        matches!(self, Self::DeleteTopic(_) | Self::DeletePolicy(_))
    }
}

const TOPIC: &str = "topic";
const POLICY: &str = "policy";

/// Compares a cluster with what is declared. Policies come first, so that new topics have them from
/// the beginning; deletions come last.
///
/// # Errors
/// When the cluster cannot be asked. What it refuses is part of the plan.
pub(super) async fn plan(
    admin: &Admin,
    topology: &Topology,
    is_pruned: bool,
) -> quipu_client::Result<Plan> {
    let mut plan = Plan::default();
    let policies = admin.list_policies().await?;
    let policies: BTreeMap<&str, &Policy> =
        policies.iter().map(|policy| (policy.pattern.as_str(), policy)).collect();
    for spec in &topology.policies {
        let present = policies.get(spec.pattern.as_str()).copied();
        let wanted = wanted_policy(spec, present, is_pruned);
        let settled = admin.preview_set_policy(wanted).await;
        plan.take(POLICY, &spec.pattern, settled, |policy| policy_change(present, policy))?;
    }
    let topics = admin.list_topics().await?;
    let topics: BTreeMap<&str, &TopicDescription> =
        topics.iter().map(|topic| (topic.name.as_str(), topic)).collect();
    for spec in &topology.topics {
        match topics.get(spec.name.as_str()) {
            None => {
                let new = new_topic(spec);
                let settled = admin.create_topic(new.clone().validate_only()).await;
                plan.take(TOPIC, &spec.name, settled, |made| Some(creation(new, &made)))?;
            }
            Some(present) => plan.compare_topic(admin, spec, present, is_pruned).await?,
        }
    }
    let declared: BTreeSet<&str> = topology.topics.iter().map(|it| it.name.as_str()).collect();
    let kept: BTreeSet<&str> = topology.policies.iter().map(|it| it.pattern.as_str()).collect();
    let topics = topics.values().filter(|topic| !declared.contains(topic.name.as_str()));
    let topics = topics.map(|topic| deletion(TOPIC, &topic.name, Step::DeleteTopic));
    let policies = policies.values().filter(|policy| !kept.contains(policy.pattern.as_str()));
    let policies = policies.map(|policy| deletion(POLICY, &policy.pattern, Step::DeletePolicy));
    if is_pruned {
        plan.changes.extend(topics.chain(policies));
    } else {
        plan.others = topics.chain(policies).count();
    }
    Ok(plan)
}

impl Plan {
    /// Takes what the cluster says of one item.
    fn take<T>(
        &mut self,
        kind: &'static str,
        name: &str,
        settled: quipu_client::Result<T>,
        change: impl FnOnce(T) -> Option<Planned>,
    ) -> quipu_client::Result<()> {
        match settled {
            Ok(settled) => match change(settled) {
                Some(planned) => self.changes.push(planned),
                None => self.unchanged += 1,
            },
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => self.refuse(kind, name, error.to_string()),
        }
        Ok(())
    }

    fn refuse(&mut self, kind: &'static str, name: &str, reason: String) {
        self.refused.push(Refused { kind, name: name.to_owned(), reason });
    }

    async fn compare_topic(
        &mut self,
        admin: &Admin,
        spec: &TopicSpec,
        present: &TopicDescription,
        is_pruned: bool,
    ) -> quipu_client::Result<()> {
        let copies = spec.replication.filter(|wanted| *wanted != present.replication);
        if let Some(wanted) = copies
            && let Err(error) = admin.preview_set_replication(&spec.name, wanted).await
        {
            return self.take(TOPIC, &spec.name, Err(error), |()| None);
        }
        let copies = copies.map(|wanted| (present.replication, wanted));
        let grown = match spec.partitions {
            Some(total) => admin.preview_add_partitions(&spec.name, total).await.map(Some),
            None => Ok(None),
        };
        let grown = match grown {
            Ok(grown) => grown.filter(|grown| grown.is_changed),
            Err(error) => return self.take(TOPIC, &spec.name, Err(error), |()| None),
        };
        let own = own_settings(present);
        let mut change = TopicChange::new(&spec.name);
        change.set.clone_from(&spec.config);
        change.validate_only = true;
        if is_pruned {
            let gone = own.keys().filter(|key| !spec.config.contains_key(*key));
            change.reset = gone.cloned().collect();
        }
        let settled = if change.set.is_empty() && change.reset.is_empty() {
            Ok(present.clone())
        } else {
            admin.alter_topic(change).await
        };
        let growth = grown.map(|grown| (grown.before, spec.partitions.unwrap_or(grown.before)));
        let numbers = Numbers { copies, growth };
        self.take(TOPIC, &spec.name, settled, |after| topic_change(&own, &after, spec, numbers))
    }
}

/// The policy as it is to be: keys that the file does not have stay, unless it is pruned.
fn wanted_policy(spec: &PolicySpec, present: Option<&Policy>, is_pruned: bool) -> Policy {
    let kept = present.filter(|_| !is_pruned).map(|policy| policy.config.clone());
    let mut policy = Policy::new(&spec.pattern);
    policy.config = kept.unwrap_or_default();
    policy.config.extend(spec.config.clone());
    policy
}

fn policy_change(present: Option<&Policy>, after: Policy) -> Option<Planned> {
    let before = present.map(|policy| policy.config.clone()).unwrap_or_default();
    let details = differences(&before, &after.config);
    let action = if present.is_none() { "create" } else { "change" };
    let is_same = present.is_some() && details.is_empty();
    let change = Change { kind: POLICY, name: after.pattern.clone(), action, details };
    (!is_same).then_some(Planned { change, step: Step::SetPolicy(after) })
}

fn new_topic(spec: &TopicSpec) -> NewTopic {
    let mut new = NewTopic::new(&spec.name);
    new.partitions = spec.partitions.unwrap_or(0);
    new.replication = spec.replication.unwrap_or(0);
    new.config.clone_from(&spec.config);
    new
}

/// What is known of a topic before it is made: a check has no partitions to show.
fn creation(new: NewTopic, made: &TopicDescription) -> Planned {
    let mut after = own_settings(made);
    after.retain(|key, _| new.config.contains_key(key));
    let mut details = vec![
        detail("partitions", None::<u32>, Some(new.partitions.max(1))),
        detail("replication", None::<u32>, Some(made.replication)),
    ];
    details.extend(differences(&BTreeMap::new(), &after));
    let change = Change { kind: TOPIC, name: new.name.clone(), action: "create", details };
    Planned { change, step: Step::CreateTopic(new) }
}

/// Numbers that change: as they are, and as they are to be.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    copies: Option<(u32, u32)>,
    growth: Option<(u32, u32)>,
}

fn topic_change(
    own: &BTreeMap<String, String>,
    after: &TopicDescription,
    spec: &TopicSpec,
    Numbers { copies, growth }: Numbers,
) -> Option<Planned> {
    let settings = differences(own, &own_settings(after));
    let mut change = TopicChange::new(&spec.name);
    for Detail { key, after, .. } in &settings {
        match after {
            Some(value) => drop(change.set.insert(key.clone(), value.clone())),
            None => change.reset.push(key.clone()),
        }
    }
    let step = Step::ChangeTopic {
        name: spec.name.clone(),
        replication: copies.map(|(_, wanted)| wanted),
        partitions: growth.map(|(_, total)| total),
        settings: (!settings.is_empty()).then_some(change),
    };
    let growth = growth.map(|(before, total)| detail("partitions", Some(before), Some(total)));
    let copies = copies.map(|(before, wanted)| detail("replication", Some(before), Some(wanted)));
    let details: Vec<Detail> = copies.into_iter().chain(growth).chain(settings).collect();
    let is_same = details.is_empty();
    let change = Change { kind: TOPIC, name: spec.name.clone(), action: "change", details };
    (!is_same).then_some(Planned { change, step })
}

fn deletion(kind: &'static str, name: &str, step: fn(String) -> Step) -> Planned {
    let name = name.to_owned();
    let change = Change { kind, name: name.clone(), action: "delete", details: Vec::new() };
    Planned { change, step: step(name) }
}

/// In order of key.
fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Detail> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    differ.map(|key| detail(key, before.get(key), after.get(key))).collect()
}

fn detail(key: &str, before: Option<impl ToString>, after: Option<impl ToString>) -> Detail {
    Detail {
        key: key.to_owned(),
        before: before.map(|value| value.to_string()),
        after: after.map(|value| value.to_string()),
    }
}

impl Change {
    /// Lines for eyes: `+` comes, `~` changes, `-` goes.
    pub(super) fn lines(&self) -> Vec<String> {
        let sign = match self.action {
            "create" => '+',
            "delete" => '-',
            _ => '~',
        };
        let lost = if sign == '-' && self.kind == TOPIC { ", with all its events" } else { "" };
        let mut lines = vec![format!("{sign} {} {}{lost}", self.kind, self.name)];
        lines.extend(self.details.iter().map(Detail::line));
        lines
    }
}

impl Detail {
    fn line(&self) -> String {
        let key = &self.key;
        match (&self.before, &self.after) {
            (None, None) => format!("    {key}"),
            (None, Some(after)) => format!("    + {key} {after}"),
            (Some(before), Some(after)) => format!("    ~ {key} {before} -> {after}"),
            (Some(before), None) => format!("    - {key} {before}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use quipu_client::ConfigEntry;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn spec(partitions: Option<u32>, settings: &[(&str, &str)]) -> TopicSpec {
        let (name, config) = ("fees".to_owned(), config(settings));
        TopicSpec { name, partitions, replication: None, config }
    }

    /// A topic whose own settings are these.
    fn described(settings: &[(&str, &str)]) -> TopicDescription {
        let own = settings.iter().map(|(key, value)| ConfigEntry {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            is_default: false,
            policy: None,
        });
        let inherited = ConfigEntry {
            key: "segment-bytes".to_owned(),
            value: "1GiB".to_owned(),
            is_default: false,
            policy: Some("*".to_owned()),
        };
        TopicDescription {
            name: "fees".to_owned(),
            topic_id: String::new(),
            replication: 3,
            partitions: Vec::new(),
            config: own.chain([inherited]).collect(),
        }
    }

    #[test]
    fn a_topic_that_is_as_declared_is_no_change() {
        let after = described(&[("retention-time", "90d")]);
        let own = own_settings(&after);
        assert_eq!(own, config(&[("retention-time", "90d")]), "not what it inherits");
        let spec = spec(Some(12), &[("retention-time", "90d")]);
        assert!(topic_change(&own, &after, &spec, Numbers::default()).is_none());
    }

    #[test]
    fn a_topics_differences_are_shown_and_made_and_nothing_else() {
        let own = config(&[("min-acks", "quorum"), ("retention-time", "7d"), ("same", "1")]);
        let after = described(&[("retention-time", "90d"), ("same", "1"), ("segment-time", "1h")]);
        let spec = spec(Some(12), &[]);
        let numbers = Numbers { copies: Some((3, 5)), growth: Some((6, 12)) };
        let planned = topic_change(&own, &after, &spec, numbers).expect("it changes");
        assert_eq!(
            planned.change.lines(),
            [
                "~ topic fees",
                "    ~ replication 3 -> 5",
                "    ~ partitions 6 -> 12",
                "    - min-acks quorum",
                "    ~ retention-time 7d -> 90d",
                "    + segment-time 1h",
            ]
        );
        let Step::ChangeTopic { replication, partitions, settings: Some(change), .. } =
            planned.step
        else {
            panic!("{:?}", planned.step);
        };
        assert_eq!((replication, partitions), (Some(5), Some(12)));
        assert_eq!(change.reset, ["min-acks"]);
        assert_eq!(change.set, config(&[("retention-time", "90d"), ("segment-time", "1h")]));
        assert!(!change.validate_only);
    }

    #[test]
    fn a_policys_other_keys_stay_unless_it_is_pruned() {
        let mut present = Policy::new("*");
        present.config = config(&[("retention-time", "7d"), ("segment-time", "1h")]);
        let declared = config(&[("retention-time", "7d")]);
        let spec = PolicySpec { pattern: "*".to_owned(), config: declared };
        let kept = wanted_policy(&spec, Some(&present), false);
        assert!(policy_change(Some(&present), kept).is_none());
        let pruned = wanted_policy(&spec, Some(&present), true);
        let planned = policy_change(Some(&present), pruned).expect("a key goes");
        assert_eq!(planned.change.lines(), ["~ policy *", "    - segment-time 1h"]);
        let new = policy_change(None, Policy::new("*")).expect("new, if empty");
        assert_eq!(new.change.action, "create");
    }

    #[test]
    fn what_goes_says_what_goes_with_it() {
        let topic = deletion(TOPIC, "fees", Step::DeleteTopic);
        assert_eq!(topic.change.lines(), ["- topic fees, with all its events"]);
        assert!(topic.step.deletes());
        let policy = deletion(POLICY, "*", Step::DeletePolicy);
        assert_eq!(policy.change.lines(), ["- policy *"]);
    }
}
