//! The table of settings.

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, ends included.
    Number {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A size such as `64MiB`, within bounds.
    Bytes {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A duration such as `150ms`, `30s`, within bounds in milliseconds.
    Duration {
        /// Least, ms.
        min_ms: u64,
        /// Most, ms.
        max_ms: u64,
    },
    /// `ip:port`.
    Address,
    /// Any text.
    Text,
    /// A list of `node-id@host:port`.
    Peers,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `always`, or a duration: flush at most this often.
    Flush,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Used when nobody sets it; `None`: must be set.
    pub default: Option<&'static str>,
    /// Meaning, and why the default is what it is.
    pub doc: &'static str,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every setting, in the order of the reference page.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "node.id",
        kind: Kind::Number { min: 1, max: 1_000_000 },
        default: None,
        doc: "This node's number: unique in the cluster, and never given to another data directory.",
    },
    Setting {
        key: "node.data-dir",
        kind: Kind::Text,
        default: None,
        doc: "Directory for everything this node keeps. Created if missing; one process at a time.",
    },
    Setting {
        key: "node.rack",
        kind: Kind::Text,
        default: Some(""),
        doc: "Failure domain (rack, zone). Replicas of a partition are spread over racks where possible.",
    },
    Setting {
        key: "node.worker-threads",
        kind: Kind::Number { min: 1, max: 256 },
        default: Some("2"),
        doc: "Threads of the runtime, beside one for the journal. Two suit a small machine; use the number of cores on a dedicated one.",
    },
    Setting {
        key: "cluster.bootstrap",
        kind: Kind::Peers,
        default: Some(""),
        doc: "The nodes that form the cluster, as [\"1@host:9292\", …]: the same list on each of them. Empty: a cluster of this node alone.",
    },
    Setting {
        key: "cluster.shards-per-node",
        kind: Kind::Number { min: 1, max: 64 },
        default: Some("4"),
        doc: "Raft groups led by each node, fixed when the cluster is formed. Few keep batches large; more use more cores.",
    },
    Setting {
        key: "cluster.rebalance-after",
        kind: Kind::Duration { min_ms: 0, max_ms: 7 * 86_400_000 },
        default: Some("5m"),
        doc: "When every node has answered and no replica has moved for this long, and nodes hold amounts that differ by more than a quarter, replicas move by themselves. 0s: only `quipu cluster rebalance` moves them.",
    },
    Setting {
        key: "listeners.client",
        kind: Kind::Address,
        default: Some("127.0.0.1:9192"),
        doc: "Where clients connect (gRPC).",
    },
    Setting {
        key: "listeners.client-advertise",
        kind: Kind::Text,
        default: Some(""),
        doc: "host:port that clients are told to dial. Empty: the listener's own address, which then must not be a wildcard.",
    },
    Setting {
        key: "listeners.peer",
        kind: Kind::Address,
        default: Some("127.0.0.1:9292"),
        doc: "Where other nodes connect.",
    },
    Setting {
        key: "listeners.peer-advertise",
        kind: Kind::Text,
        default: Some(""),
        doc: "host:port that other nodes are told to dial. Empty: this node's entry in cluster.bootstrap, else the listener's own address.",
    },
    Setting {
        key: "listeners.metrics",
        kind: Kind::Address,
        default: Some("127.0.0.1:9644"),
        doc: "Where /metrics and /health answer (HTTP).",
    },
    Setting {
        key: "journal.file-bytes",
        kind: Kind::Bytes { min: 4 * MIB, max: 4 * GIB },
        default: Some("64MiB"),
        doc: "Size of one journal file. Files are zero-filled once and recycled; larger ones roll less often.",
    },
    Setting {
        key: "journal.tail-bytes",
        kind: Kind::Bytes { min: MIB, max: 16 * GIB },
        default: Some("32MiB"),
        doc: "Memory for recent entries, so that followers are served without reading the disk.",
    },
    Setting {
        key: "journal.flush",
        kind: Kind::Flush,
        default: Some("always"),
        doc: "\"always\": on disk before acknowledged. A duration (\"10ms\"): flush at most this often; a power loss of a majority of nodes may then lose acknowledged events.",
    },
    Setting {
        key: "storage.checkpoint-bytes",
        kind: Kind::Bytes { min: MIB, max: 64 * GIB },
        default: Some("128MiB"),
        doc: "A shard is checkpointed after this much journal. Less: quicker restarts, more flushes.",
    },
    Setting {
        key: "storage.checkpoint-interval",
        kind: Kind::Duration { min_ms: 100, max_ms: 86_400_000 },
        default: Some("60s"),
        doc: "A shard with changes is checkpointed at least this often.",
    },
    Setting {
        key: "storage.min-free",
        kind: Kind::Bytes { min: 0, max: 1024 * GIB },
        default: Some("1GiB"),
        doc: "With less free disk than this (or than a tenth of the disk, if that is less) writes are refused and others lead; with a quarter of it left, entries of other leaders are refused too. Reads, positions and retention go on.",
    },
    Setting {
        key: "storage.retention-interval",
        kind: Kind::Duration { min_ms: 100, max_ms: 86_400_000 },
        default: Some("30s"),
        doc: "Between two looks at what is older than retention-time or above retention-bytes.",
    },
    Setting {
        key: "storage.scrub-interval",
        kind: Kind::Duration { min_ms: 0, max_ms: 30 * 86_400_000 },
        default: Some("24h"),
        doc: "Everything stored is read and checked once in this time; what is damaged is fetched from a peer. 0s: only what readers find.",
    },
    Setting {
        key: "storage.quarantine",
        kind: Kind::OneOf(&["auto", "refuse"]),
        default: Some("auto"),
        doc: "A node whose journal is damaged in the middle may have forgotten votes and records. auto: when a majority of every shard it holds is there without it, its data moves to quarantine/ and it is fed from the others under new replica ids; otherwise, and with refuse, it does not start and nothing is touched.",
    },
    Setting {
        key: "storage.journal-entries-kept",
        kind: Kind::Number { min: 0, max: 10_000_000 },
        default: Some("2000"),
        doc: "Raft entries kept behind a checkpoint, so that a follower that was away shortly needs no snapshot.",
    },
    Setting {
        key: "raft.heartbeat",
        kind: Kind::Duration { min_ms: 20, max_ms: 10_000 },
        default: Some("300ms"),
        doc: "Between two heartbeats of a shard leader.",
    },
    Setting {
        key: "raft.election-min",
        kind: Kind::Duration { min_ms: 100, max_ms: 60_000 },
        default: Some("1s"),
        doc: "A follower campaigns after this much silence, at the earliest. A broken connection is noticed at once and does not wait for it.",
    },
    Setting {
        key: "raft.election-max",
        kind: Kind::Duration { min_ms: 200, max_ms: 120_000 },
        default: Some("2s"),
        doc: "And at the latest; at least 1.5 times raft.election-min, so that two nodes rarely campaign together.",
    },
    Setting {
        key: "limits.request-memory",
        kind: Kind::Bytes { min: 64 * MIB, max: 64 * GIB },
        default: Some("256MiB"),
        doc: "Bytes of client requests held at once. When used up, connections are read no further.",
    },
    Setting {
        key: "limits.catch-up-rate",
        kind: Kind::Bytes { min: 64 << 10, max: 64 * GIB },
        default: Some("100MiB"),
        doc: "Bytes a node sends in a second, at most, to replicas that are far behind or new, all together; fewer while appends suffer from it. What voters follow through the log is not counted.",
    },
    Setting {
        key: "log.format",
        kind: Kind::OneOf(&["auto", "text", "json"]),
        default: Some("auto"),
        doc: "auto: text on a terminal, JSON elsewhere.",
    },
    Setting {
        key: "log.filter",
        kind: Kind::Text,
        default: Some("info,openraft=error"),
        doc: "Which lines appear, for example \"info,quipu_consensus=debug,openraft=error\".",
    },
];

/// The setting of a key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The key that looks most like `key`, if any is close.
#[must_use]
pub fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (edit_distance(key, setting.key), setting.key))
        .filter(|(distance, _)| *distance <= 1 + key.len() / 4)
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The reference page, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\nFile < environment < flag. A key `section.key` is written `[section] key = …` in \
         `quipu.toml`, `QUIPU_SECTION__KEY` in the environment (dashes become underscores) and \
         `--set section.key=…` on the command line. All take effect at start.\n\n\
         | Key | Value | Default | Meaning |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = match setting.default {
            None => "required".to_owned(),
            Some("") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        let line =
            format!("| `{}` | {} | {default} | {} |\n", setting.key, setting.kind, setting.doc);
        page.push_str(&line);
    }
    page
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use quipu_types::ByteCount;
        match self {
            Self::Number { min, max } => write!(f, "number {min} to {max}"),
            Self::Bytes { min, max } => {
                write!(f, "size {} to {}", ByteCount::new(*min), ByteCount::new(*max))
            }
            Self::Duration { min_ms, max_ms } => write!(f, "duration {min_ms}ms to {max_ms}ms"),
            Self::Address => f.write_str("ip:port"),
            Self::Text => f.write_str("text"),
            Self::Peers => f.write_str("list of id@host:port"),
            Self::OneOf(words) => f.write_str(&words.join(", ")),
            Self::Flush => f.write_str("always, or a duration"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_met_with_the_key_that_was_meant() {
        assert_eq!(nearest("journal.file-byte"), Some("journal.file-bytes"));
        assert_eq!(nearest("raft.hartbeat"), Some("raft.heartbeat"));
        assert_eq!(nearest("completely.different"), None);
    }

    #[test]
    fn every_setting_has_a_line_in_the_reference() {
        let page = reference();
        for setting in SETTINGS {
            assert!(page.contains(&format!("| `{}` |", setting.key)), "{}", setting.key);
        }
    }
}
