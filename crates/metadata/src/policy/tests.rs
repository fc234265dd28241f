use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_types::{ShardId, TopicId, TopicName};

use super::*;

const HOUR: u64 = 3_600_000;

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::new(text).expect(text)
}

fn setting(key: &str, value: &str) -> Setting {
    Setting::parse(key, value).expect(value)
}

/// An image with policies of one setting each.
fn image(policies: &[(&str, &str, &str)]) -> Image {
    let mut all = Policies::default();
    for (of, key, value) in policies {
        let before = all.get(&pattern(of)).unwrap_or_default().to_vec();
        let settings = before.into_iter().chain([setting(key, value)]);
        all.insert(Policy::new(pattern(of), settings).expect("valid"));
    }
    let mut image = Image::default();
    image.policies = Arc::new(all);
    image
}

fn topic(name: &str, own: Option<&[(&str, &str)]>) -> TopicRecord {
    let mut config = TopicConfig::for_replication(3);
    let settings: Vec<Setting> =
        own.unwrap_or_default().iter().map(|(key, value)| setting(key, value)).collect();
    settings.iter().for_each(|setting| config.set(setting));
    TopicRecord {
        id: TopicId::from_bytes([1; 16]),
        name: TopicName::new(name).expect(name),
        partitions: vec![ShardId::new(1)],
        partitions_first: 1,
        replication: 3,
        own: own.map(|_| settings.iter().map(Setting::key).collect()),
        was_compacted: false,
        moves: BTreeMap::new(),
        arrived: BTreeMap::new(),
        config,
    }
}

#[test]
fn the_most_specific_policy_wins_key_by_key() {
    let image = image(&[
        ("*", "retention-time", "30d"),
        ("*", "retention-bytes", "1GiB"),
        ("healthtech.*", "retention-time", "90d"),
        ("healthtech.audit", "segment-bytes", "1MiB"),
    ]);
    let of = |name| {
        let config = image.effective(&topic(name, Some(&[])));
        let hours = config.retention_ms.map(|ms| ms / HOUR);
        (hours, config.retention_bytes, config.segment_bytes)
    };
    assert_eq!(of("fees"), (Some(30 * 24), Some(1 << 30), 128 << 20));
    assert_eq!(of("healthtech.visits"), (Some(90 * 24), Some(1 << 30), 128 << 20));
    assert_eq!(of("healthtech.audit"), (Some(90 * 24), Some(1 << 30), 1 << 20));
}

#[test]
fn a_topics_own_setting_beats_every_policy_even_when_it_is_the_default() {
    let image = image(&[("fees*", "retention-time", "90d")]);
    let own = topic("fees", Some(&[("retention-time", "7d")]));
    assert_eq!(image.effective(&own).retention_ms, Some(7 * 24 * HOUR));
    let for_ever = topic("fees", Some(&[("retention-time", "unlimited")]));
    assert_eq!(image.effective(&for_ever).retention_ms, None);
    let origin = |topic: &TopicRecord| {
        let explained = image.explained(topic);
        let of = explained.into_iter().find(|(it, _)| it.key() == ConfigKey::RetentionTime);
        of.expect("every key").1
    };
    assert_eq!(origin(&for_ever), Origin::Topic);
    assert_eq!(origin(&topic("fees", Some(&[]))), Origin::Policy(pattern("fees*")));
    assert_eq!(origin(&topic("other", Some(&[]))), Origin::Default);
}

#[test]
fn of_a_topic_of_an_older_release_what_is_not_the_default_is_its_own() {
    let image = image(&[("fees", "retention-time", "90d")]);
    let mut old = topic("fees", None);
    assert_eq!(image.effective(&old).retention_ms, Some(90 * 24 * HOUR));
    old.config.retention_ms = Some(HOUR);
    assert_eq!(image.effective(&old).retention_ms, Some(HOUR));
}

#[test]
fn topics_are_counted_under_the_policy_they_have_something_from() {
    let mut image = image(&[("a*", "retention-time", "90d"), ("ab", "retention-time", "30d")]);
    for (id, name) in (1..).zip(["a", "ab", "ac", "b"]) {
        let id = TopicId::from_bytes([id; 16]);
        image.insert_topic(Arc::new(TopicRecord { id, ..topic(name, Some(&[])) }));
    }
    assert_eq!(image.topics_under(&pattern("a*")), 2);
    assert_eq!(image.topics_under(&pattern("ab")), 1);
    assert_eq!(image.topics_under(&pattern("b*")), 0);
}

#[test]
fn a_policy_sets_what_is_kept_and_nothing_else() {
    let refused = Policy::new(pattern("a"), [setting("min-insync", "2")]).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "min-insync is set for each topic by itself: a policy may set retention-time, \
         retention-bytes, segment-bytes, segment-time"
    );
    assert_eq!(Policy::new(pattern("a"), []), Err(InvalidConfig::EmptyPolicy));
    let twice = [setting("retention-time", "1h"), setting("retention-time", "2h")];
    let policy = Policy::new(pattern("a"), twice).expect("the last one counts");
    assert_eq!(policy.settings, [setting("retention-time", "2h")]);
}
