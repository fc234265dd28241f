use proptest::prelude::*;
use quipu_types::{Acks, limits};

use super::*;

/// Every refusal, word for word: users act on these sentences.
#[test]
fn what_is_refused_is_refused_with_key_value_and_rule() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "retention-tme",
            "7d",
            r#"there is no topic setting "retention-tme"; did you mean "retention-time"?"#,
        ),
        (
            "Retention-Time",
            "7d",
            r#"there is no topic setting "Retention-Time"; did you mean "retention-time"?"#,
        ),
        (
            "retention.ms",
            "604800000",
            r#"there is no topic setting "retention.ms"; did you mean "retention-time"?"#,
        ),
        (
            "min.insync.replicas",
            "2",
            r#"there is no topic setting "min.insync.replicas"; did you mean "min-insync"?"#,
        ),
        (
            "max.message.bytes",
            "1",
            r#"there is no topic setting "max.message.bytes"; did you mean "max-batch-bytes"?"#,
        ),
        (
            "segment_bytes",
            "1GiB",
            r#"there is no topic setting "segment_bytes"; did you mean "segment-bytes"?"#,
        ),
        ("min-ack", "quorum", r#"there is no topic setting "min-ack"; did you mean "min-acks"?"#),
        (
            "colour",
            "blue",
            r#"there is no topic setting "colour": the settings are min-insync, min-acks, max-batch-bytes, timestamp-type, retention-time, retention-bytes, segment-bytes, segment-time, cleanup-policy, tombstone-retention, compaction-lag-min, compaction-lag-max"#,
        ),
        (
            "",
            "1",
            r#"there is no topic setting "": the settings are min-insync, min-acks, max-batch-bytes, timestamp-type, retention-time, retention-bytes, segment-bytes, segment-time, cleanup-policy, tombstone-retention, compaction-lag-min, compaction-lag-max"#,
        ),
        ("min-insync", "0", r#"min-insync = "0": write a number of replicas, 1 to 7"#),
        ("min-insync", "8", r#"min-insync = "8": write a number of replicas, 1 to 7"#),
        ("min-insync", "two", r#"min-insync = "two": write a number of replicas, 1 to 7"#),
        ("min-insync", "-1", r#"min-insync = "-1": write a number of replicas, 1 to 7"#),
        ("min-insync", "", r#"min-insync = "": write a number of replicas, 1 to 7"#),
        ("min-acks", "all", r#"min-acks = "all": write none, leader or quorum"#),
        ("min-acks", "Quorum", r#"min-acks = "Quorum": write none, leader or quorum"#),
        ("min-acks", "1", r#"min-acks = "1": write none, leader or quorum"#),
        ("max-batch-bytes", "1023B", r#"max-batch-bytes = "1023B": write 1KiB to 8MiB"#),
        ("max-batch-bytes", "9MiB", r#"max-batch-bytes = "9MiB": write 1KiB to 8MiB"#),
        ("max-batch-bytes", "0", r#"max-batch-bytes = "0": write 1KiB to 8MiB"#),
        (
            "max-batch-bytes",
            "1.5MiB",
            r#"max-batch-bytes = "1.5MiB": write a size such as 512KiB, 64MiB or 1GiB"#,
        ),
        (
            "max-batch-bytes",
            "-1",
            r#"max-batch-bytes = "-1": write a size such as 512KiB, 64MiB or 1GiB"#,
        ),
        (
            "max-batch-bytes",
            "unlimited",
            r#"max-batch-bytes = "unlimited": write a size such as 512KiB, 64MiB or 1GiB"#,
        ),
        (
            "timestamp-type",
            "CreateTime",
            r#"timestamp-type = "CreateTime": write create or log-append"#,
        ),
        (
            "timestamp-type",
            "logappend",
            r#"timestamp-type = "logappend": write create or log-append"#,
        ),
        ("retention-time", "59s", r#"retention-time = "59s": write 1m to 36500d, or unlimited"#),
        (
            "retention-time",
            "36501d",
            r#"retention-time = "36501d": write 1m to 36500d, or unlimited"#,
        ),
        (
            "retention-time",
            "604800000",
            r#"retention-time = "604800000": write a duration such as 7d, 24h, 1h30m or 30s, or unlimited"#,
        ),
        (
            "retention-time",
            "-1",
            r#"retention-time = "-1": write a duration such as 7d, 24h, 1h30m or 30s, or unlimited"#,
        ),
        (
            "retention-time",
            "7 days",
            r#"retention-time = "7 days": write a duration such as 7d, 24h, 1h30m or 30s, or unlimited"#,
        ),
        (
            "retention-time",
            "forever",
            r#"retention-time = "forever": write a duration such as 7d, 24h, 1h30m or 30s, or unlimited"#,
        ),
        (
            "retention-bytes",
            "1023KiB",
            r#"retention-bytes = "1023KiB": write 1MiB or more, or unlimited"#,
        ),
        (
            "retention-bytes",
            "-1",
            r#"retention-bytes = "-1": write a size such as 512KiB, 64MiB or 1GiB, or unlimited"#,
        ),
        (
            "retention-bytes",
            "99999999999TiB",
            r#"retention-bytes = "99999999999TiB": write a size such as 512KiB, 64MiB or 1GiB, or unlimited"#,
        ),
        ("segment-bytes", "1023KiB", r#"segment-bytes = "1023KiB": write 1MiB to 1GiB"#),
        ("segment-bytes", "2GiB", r#"segment-bytes = "2GiB": write 1MiB to 1GiB"#),
        (
            "segment-bytes",
            "big",
            r#"segment-bytes = "big": write a size such as 512KiB, 64MiB or 1GiB"#,
        ),
        ("segment-time", "9s", r#"segment-time = "9s": write 10s to 365d"#),
        ("segment-time", "366d", r#"segment-time = "366d": write 10s to 365d"#),
        (
            "segment-time",
            "unlimited",
            r#"segment-time = "unlimited": write a duration such as 7d, 24h, 1h30m or 30s"#,
        ),
    ];
    for (key, value, sentence) in cases {
        let refused = Setting::parse(key, value).expect_err(sentence);
        assert_eq!(refused.to_string(), *sentence);
    }
}

#[test]
fn what_is_accepted_is_shown_as_it_would_be_written() {
    for (key, value, shown) in [
        ("min-insync", "3", "3"),
        ("min-acks", "leader", "leader"),
        ("max-batch-bytes", "1KiB", "1KiB"),
        ("max-batch-bytes", "8MiB", "8MiB"),
        ("max-batch-bytes", "1000000", "1000000B"),
        ("timestamp-type", "log-append", "log-append"),
        ("retention-time", "1m", "1m"),
        ("retention-time", "90d", "90d"),
        ("retention-time", "1h30m", "90m"),
        ("retention-time", "unlimited", "unlimited"),
        ("retention-bytes", "1 GB", "1000000000B"),
        ("retention-bytes", "unlimited", "unlimited"),
        ("segment-bytes", "1GiB", "1GiB"),
        ("segment-time", "168h", "7d"),
    ] {
        let setting = Setting::parse(key, value).expect(value);
        assert_eq!((setting.key().name(), setting.value().as_str()), (key, shown));
    }
}

#[test]
fn min_insync_lies_between_the_majority_and_all_replicas() {
    for replication in 1..=limits::REPLICATION_MAX {
        for min_insync in 1..=limits::REPLICATION_MAX {
            let mut config = TopicConfig::for_replication(replication);
            config.set(&Setting::MinInsync(min_insync));
            let is_right = min_insync > replication / 2 && min_insync <= replication;
            assert_eq!(
                config.check(replication).is_ok(),
                is_right,
                "{min_insync} of {replication}"
            );
        }
    }
    let mut config = TopicConfig::for_replication(3);
    config.set(&Setting::MinInsync(1));
    assert_eq!(
        config.check(3).expect_err("below the majority").to_string(),
        "min-insync = \"1\": with replication 3 use 2 to 3: every acknowledgement waits for a \
         majority, and min-insync may only ask for more"
    );
}

#[test]
fn the_defaults_are_the_safe_ones() {
    let config = TopicConfig::default();
    assert_eq!(config.min_insync, 2);
    assert_eq!((config.retention_ms, config.retention_bytes), (None, None));
    assert_eq!(config.max_batch_bytes, limits::BATCH_BYTES_MAX_DEFAULT);
    assert_eq!(config.min_acks, Acks::None);
    assert!(config.entries(3).all(|(_, _, is_default)| is_default));
    for replication in 1..=limits::REPLICATION_MAX {
        assert_eq!(TopicConfig::for_replication(replication).check(replication), Ok(()));
    }
}

#[test]
fn entries_tell_what_was_changed() {
    let mut config = TopicConfig::for_replication(1);
    config.set(&Setting::parse("retention-time", "30d").expect("valid"));
    let changed: Vec<(&str, String)> = config
        .entries(1)
        .filter(|(_, _, is_default)| !is_default)
        .map(|(key, value, _)| (key, value))
        .collect();
    assert_eq!(changed, [("retention-time", "30d".to_owned())]);
}

#[test]
fn the_reference_has_a_line_for_every_key() {
    let page = reference();
    for doc in KEYS {
        assert!(page.contains(&format!("| `{}` |", doc.name)), "{}", doc.name);
        assert!(ConfigKey::of(doc.name) == Some(doc.key));
    }
}

#[test]
fn a_stored_config_of_an_older_release_has_the_defaults_of_newer_keys() {
    let config: TopicConfig = serde_json::from_str(r#"{"min-insync":"3"}"#).expect("stored");
    assert_eq!(config, TopicConfig { min_insync: 3, ..TopicConfig::default() });
    let newer = serde_json::from_str::<TopicConfig>(r#"{"from-the-future":"1"}"#);
    assert!(newer.is_err(), "an unknown key must not be forgotten");
}

#[test]
fn a_topic_that_is_not_compacted_is_stored_as_a_release_without_compaction_does() {
    let stored = serde_json::to_string(&TopicConfig::default()).expect("encode");
    assert!(!stored.contains("cleanup") && !stored.contains("compaction"), "{stored}");
    let mut config = TopicConfig::default();
    config.set(&Setting::parse("cleanup-policy", "delete,compact").expect("in any order"));
    let stored = serde_json::to_string(&config).expect("encode");
    assert!(stored.contains(r#""cleanup-policy":"compact,delete""#), "{stored}");
}

#[test]
fn what_must_wait_cannot_wait_for_longer_than_it_may() {
    let mut config = TopicConfig::default();
    config.set(&Setting::parse("compaction-lag-min", "8d").expect("valid"));
    let refused = config.check(3).expect_err("more than compaction-lag-max").to_string();
    let expected = r#"compaction-lag-min = "8d": write at most compaction-lag-max, which is 7d"#;
    assert_eq!(refused, expected);
}

fn any_setting() -> impl Strategy<Value = Setting> {
    prop_oneof![
        (1..=7_u8).prop_map(Setting::MinInsync),
        prop_oneof![Just(Acks::None), Just(Acks::Leader), Just(Acks::Quorum)]
            .prop_map(Setting::MinAcks),
        (1_024..=limits::BATCH_BYTES_MAX).prop_map(Setting::MaxBatchBytes),
        prop_oneof![Just(TimestampType::Create), Just(TimestampType::LogAppend)]
            .prop_map(Setting::TimestampType),
        prop::option::of(60_000..1_000_000_000_000_u64).prop_map(Setting::RetentionTime),
        prop::option::of((1_u64 << 20)..=u64::MAX).prop_map(Setting::RetentionBytes),
        ((1_u64 << 20)..=(1 << 30)).prop_map(Setting::SegmentBytes),
        (10_000..=365 * 86_400_000_u64).prop_map(Setting::SegmentTime),
        prop_oneof![Just(Cleanup::Delete), Just(Cleanup::Compact), Just(Cleanup::CompactAndDelete)]
            .prop_map(Setting::CleanupPolicy),
        (1_000..1_000_000_000_000_u64).prop_map(Setting::TombstoneRetention),
        (0..1_000_000_000_000_u64).prop_map(Setting::CompactionLagMin),
        (1_000..1_000_000_000_000_u64).prop_map(Setting::CompactionLagMax),
    ]
}

proptest! {
    #[test]
    fn settings_come_back_from_what_is_shown(setting in any_setting()) {
        prop_assert_eq!(Setting::parse(setting.key().name(), &setting.value()), Ok(setting));
    }

    #[test]
    fn configs_come_back_from_what_is_stored(settings in prop::collection::vec(any_setting(), 0..9)) {
        let mut config = TopicConfig::default();
        settings.iter().for_each(|setting| config.set(setting));
        let stored = serde_json::to_string(&config).expect("encode");
        prop_assert_eq!(serde_json::from_str::<TopicConfig>(&stored).expect("decode"), config);
    }
}
