//! Configuration files.

use std::path::Path;

use quipu_server::config::{Config, ConfigError, Layers};

use crate::input::text;
use crate::{Seed, Verdict};

pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some(text) = text(input) else { return Verdict::Refused };
    let layers = match base().and_then(|base| base.file_text(Path::new("quipu.toml"), text)) {
        Ok(layers) => layers,
        Err(refused) => return said(&refused),
    };
    match Config::from_layers(&layers) {
        Ok(config) => {
            same_as_flags(&layers, &config);
            Verdict::Accepted
        }
        Err(refused) => said(&refused),
    }
}

/// What a file may leave out.
fn base() -> Result<Layers, ConfigError> {
    Layers::defaults().flags(["node.id=1", "node.data-dir=/data"])
}

/// A refusal has words.
fn said(refused: &ConfigError) -> Verdict {
    assert!(!refused.to_string().is_empty());
    Verdict::Refused
}

/// A value means the same wherever it is set.
fn same_as_flags(layers: &Layers, config: &Config) {
    let flags: Vec<String> =
        layers.iter().map(|(setting, value)| format!("{}={}", setting.key, value.text)).collect();
    let again = Layers::defaults().flags(flags.iter().map(String::as_str)).expect("known keys");
    let again = Config::from_layers(&again).expect("the same values");
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

pub(crate) fn seeds() -> Vec<Seed> {
    let seed = |text: &str| text.as_bytes().to_vec();
    vec![
        ("ok-empty", Vec::new()),
        ("ok-node", seed("[node]\nid = 2\ndata-dir = \"/var/lib/quipu\"\nrack = \"a\"\n")),
        ("ok-raft", seed(RAFT)),
        ("ok-cluster", seed(CLUSTER)),
        ("unknown", seed("[raft]\nhartbeat = 1\n")),
        ("syntax", seed("[raft]\nheartbeat = \n")),
    ]
}

const RAFT: &str = "\
# Patient.
[raft]
heartbeat = \"200ms\"
election-min = \"1s\"
election-max = '4s'
[journal]
file-bytes = \"16MiB\"
flush = \"always\"
[limits]
request-memory = \"64MiB\"
[log]
format = \"json\"
filter = \"info,quipu_raft=debug\"
";

const CLUSTER: &str = "\
[node]
id = 3
[cluster]
bootstrap = [\"1@a:9292\", \"2@b:9292\", \"3@[::1]:9292\"]
[listeners]
client = \"0.0.0.0:9192\"
client-advertise = \"c:9192\"
";
