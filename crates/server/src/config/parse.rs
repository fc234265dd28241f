//! From text to typed values, with bounds.

use std::net::SocketAddr;
use std::time::Duration;

use quipu_types::{ByteCount, NodeId};
use tracing_subscriber::EnvFilter;

use super::layers::{ConfigError, Layers, Resolved};
use super::setting::{Kind, find};
use super::{
    ClusterConfig, Config, JournalConfig, LimitsConfig, ListenersConfig, LogConfig, LogFormat,
    NodeConfig, Quarantine, RaftConfig, StorageConfig,
};

impl Config {
    /// Parses and checks all layers together.
    ///
    /// # Errors
    /// The first value that does not fit, with its origin; then contradictions between values.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let reader = Reader { layers };
        let node = NodeConfig {
            id: NodeId::new(reader.number("node.id")?),
            data_dir: reader.non_empty("node.data-dir")?.into(),
            rack: reader.text("node.rack")?,
            worker_threads: reader.count("node.worker-threads")?,
        };
        let cluster = ClusterConfig {
            bootstrap: reader.peers("cluster.bootstrap")?,
            shards_per_node: u32::try_from(reader.number("cluster.shards-per-node")?)
                .expect("bounded by its setting"),
            rebalance_after: reader.duration("cluster.rebalance-after")?,
        };
        let listeners = reader.listeners(&node, &cluster)?;
        let config = Self {
            node,
            cluster,
            listeners,
            journal: JournalConfig {
                file_bytes: reader.bytes("journal.file-bytes")?,
                tail_bytes: reader.bytes("journal.tail-bytes")?,
                flush_interval: reader.flush("journal.flush")?,
            },
            storage: StorageConfig {
                checkpoint_bytes: reader.bytes("storage.checkpoint-bytes")?,
                checkpoint_interval: reader.duration("storage.checkpoint-interval")?,
                min_free: reader.bytes("storage.min-free")?,
                retention_interval: reader.duration("storage.retention-interval")?,
                scrub_interval: reader.duration("storage.scrub-interval")?,
                quarantine: reader.quarantine("storage.quarantine")?,
                journal_entries_kept: reader.number("storage.journal-entries-kept")?,
            },
            raft: RaftConfig {
                heartbeat: reader.duration("raft.heartbeat")?,
                election_min: reader.duration("raft.election-min")?,
                election_max: reader.duration("raft.election-max")?,
            },
            limits: LimitsConfig {
                request_memory_bytes: reader.bytes("limits.request-memory")?,
                catch_up_rate: reader.bytes("limits.catch-up-rate")?,
            },
            log: LogConfig {
                format: reader.log_format("log.format")?,
                filter: reader.log_filter("log.filter")?,
            },
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let contradiction = |reason: String| Err(ConfigError::Contradiction { reason });
        let raft = &self.raft;
        if raft.election_min < raft.heartbeat * 3 {
            return contradiction(format!(
                "raft.election-min ({:?}) must be at least three times raft.heartbeat ({:?})",
                raft.election_min, raft.heartbeat
            ));
        }
        if raft.election_max < raft.election_min.mul_f64(1.5) {
            return contradiction(format!(
                "raft.election-max ({:?}) must be at least 1.5 times raft.election-min ({:?})",
                raft.election_max, raft.election_min
            ));
        }
        let bootstrap = &self.cluster.bootstrap;
        if !bootstrap.is_empty() && !bootstrap.iter().any(|(id, _)| *id == self.node.id) {
            return contradiction(format!(
                "node.id {} is not in cluster.bootstrap: list every first node, this one included",
                self.node.id
            ));
        }
        Ok(())
    }
}

struct Reader<'a> {
    layers: &'a Layers,
}

impl Reader<'_> {
    fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let Resolved { text, origin } = self.layers.get(key)?;
        parse(text).map_err(|reason| ConfigError::Value {
            origin: origin.clone(),
            key: key.to_owned(),
            value: text.clone(),
            reason,
        })
    }

    fn bounded(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<u64, String>,
    ) -> Result<u64, ConfigError> {
        let kind = find(key).expect("keys come from the table").kind;
        let (Kind::Number { min, max }
        | Kind::Bytes { min, max }
        | Kind::Duration { min_ms: min, max_ms: max }) = kind
        else {
            unreachable!("{key} has no bounds");
        };
        self.parse(key, |text| {
            let value = parse(text)?;
            let fits = (min..=max).contains(&value);
            fits.then_some(value).ok_or_else(|| format!("out of bounds; expected a {kind}"))
        })
    }

    fn number(&self, key: &'static str) -> Result<u64, ConfigError> {
        self.bounded(key, |text| text.trim().parse().map_err(|_| "not a whole number".to_owned()))
    }

    fn count(&self, key: &'static str) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.number(key)?).expect("bounded by its setting"))
    }

    fn bytes(&self, key: &'static str) -> Result<u64, ConfigError> {
        self.bounded(key, |text| {
            text.parse::<ByteCount>().map(ByteCount::get).map_err(|error| error.to_string())
        })
    }

    fn duration(&self, key: &'static str) -> Result<Duration, ConfigError> {
        self.bounded(key, parse_duration_ms).map(Duration::from_millis)
    }

    fn text(&self, key: &'static str) -> Result<String, ConfigError> {
        Ok(self.layers.get(key)?.text.clone())
    }

    fn log_filter(&self, key: &'static str) -> Result<String, ConfigError> {
        self.parse(key, |text| match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    fn non_empty(&self, key: &'static str) -> Result<String, ConfigError> {
        self.parse(key, |text| {
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
        })
    }

    fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        self.parse(key, |text| {
            text.parse().map_err(|_| "not ip:port, for example 0.0.0.0:9192".to_owned())
        })
    }

    fn advertise(
        &self,
        key: &'static str,
        own: Option<&String>,
        listener: SocketAddr,
    ) -> Result<String, ConfigError> {
        self.parse(key, |text| match (text, own) {
            ("", Some(own)) => Ok(own.clone()),
            ("", None) if listener.ip().is_unspecified() => {
                Err(format!("nobody can dial {listener}: say which host:port others are to use"))
            }
            ("", None) => Ok(listener.to_string()),
            (text, _) => check_host_port(text).map(|()| text.to_owned()),
        })
    }

    fn listeners(
        &self,
        node: &NodeConfig,
        cluster: &ClusterConfig,
    ) -> Result<ListenersConfig, ConfigError> {
        let client = self.address("listeners.client")?;
        let peer = self.address("listeners.peer")?;
        let own = cluster.bootstrap.iter().find(|(id, _)| *id == node.id).map(|(_, at)| at);
        Ok(ListenersConfig {
            client,
            client_advertise: self.advertise("listeners.client-advertise", None, client)?,
            peer,
            peer_advertise: self.advertise("listeners.peer-advertise", own, peer)?,
            metrics: self.address("listeners.metrics")?,
        })
    }

    fn peers(&self, key: &'static str) -> Result<Vec<(NodeId, String)>, ConfigError> {
        self.parse(key, |text| {
            let mut peers = Vec::new();
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                let (id, address) =
                    item.split_once('@').ok_or_else(|| format!("{item:?} is not id@host:port"))?;
                let id: NodeId =
                    id.parse().map_err(|_| format!("{id:?} in {item:?} is not a node id"))?;
                check_host_port(address)?;
                if peers.iter().any(|(other, _)| *other == id) {
                    return Err(format!("node {id} is listed twice"));
                }
                peers.push((id, address.to_owned()));
            }
            peers.sort();
            Ok(peers)
        })
    }

    fn flush(&self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.parse(key, |text| match text {
            "always" => Ok(None),
            text => match parse_duration_ms(text)? {
                ms @ 1..=60_000 => Ok(Some(Duration::from_millis(ms))),
                _ => Err("expected \"always\" or a duration of 1ms to 60s".to_owned()),
            },
        })
    }

    fn log_format(&self, key: &'static str) -> Result<LogFormat, ConfigError> {
        self.parse(key, |text| match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected auto, text or json".to_owned()),
        })
    }

    fn quarantine(&self, key: &'static str) -> Result<Quarantine, ConfigError> {
        self.parse(key, |text| match text {
            "auto" => Ok(Quarantine::Auto),
            "refuse" => Ok(Quarantine::Refuse),
            _ => Err("expected auto or refuse".to_owned()),
        })
    }
}

fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let bad = || "not a duration, for example 150ms, 30s or 5m".to_owned();
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| bad())?;
    u64::try_from(span.as_millis()).map_err(|_| bad())
}

fn check_host_port(text: &str) -> Result<(), String> {
    let fits = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
    fits.then_some(()).ok_or_else(|| format!("{text:?} is not host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let base = ["node.id=1", "node.data-dir=/tmp/quipu"];
        Layers::defaults()
            .flags(base.into_iter().chain(flags.iter().copied()))
            .and_then(|layers| Config::from_layers(&layers))
    }

    #[test]
    fn defaults_are_a_valid_single_node() {
        let config = config(&[]).unwrap();
        assert_eq!(config.listeners.client_advertise, "127.0.0.1:9192");
        assert_eq!(config.journal.flush_interval, None, "flushed before acknowledged");
        assert_eq!(config.raft.heartbeat, Duration::from_millis(300));
    }

    #[test]
    fn each_bad_value_is_refused_with_its_reason() {
        let cases: &[(&str, &str)] = &[
            ("node.id=0", "out of bounds; expected a number 1 to 1000000"),
            ("node.id=one", "not a whole number"),
            ("node.id=-1", "not a whole number"),
            ("node.data-dir=", "must not be empty"),
            ("node.worker-threads=0", "out of bounds; expected a number 1 to 256"),
            ("journal.file-bytes=1KiB", "out of bounds; expected a size 4MiB to 4GiB"),
            ("journal.file-bytes=huge", "\"huge\" is not a size"),
            ("journal.flush=never", "not a duration"),
            ("journal.flush=0s", "expected \"always\" or a duration of 1ms to 60s"),
            ("raft.heartbeat=1ms", "out of bounds; expected a duration 20ms to 10000ms"),
            ("raft.heartbeat=soon", "not a duration"),
            ("listeners.client=localhost", "not ip:port"),
            ("listeners.client=0.0.0.0:9192", "nobody can dial 0.0.0.0:9192"),
            ("listeners.client-advertise=host", "\"host\" is not host:port"),
            ("cluster.bootstrap=1", "\"1\" is not id@host:port"),
            ("cluster.bootstrap=x@h:1", "\"x\" in \"x@h:1\" is not a node id"),
            ("cluster.bootstrap=1@h:1,1@i:1", "node 1 is listed twice"),
            ("cluster.bootstrap=1@h:0", "\"h:0\" is not host:port"),
            ("cluster.bootstrap=2@h:1", "node.id 1 is not in cluster.bootstrap"),
            ("log.format=xml", "expected auto, text or json"),
            ("raft.election-min=200ms", "must be at least three times raft.heartbeat"),
            ("raft.election-max=800ms", "must be at least 1.5 times raft.election-min"),
        ];
        for (flag, expected) in cases {
            let refused = config(&[flag]).expect_err(flag).to_string();
            assert!(refused.contains(expected), "{flag}: {refused}");
        }
    }

    #[test]
    fn the_bootstrap_list_gives_the_peer_address() {
        let config = config(&["cluster.bootstrap=2@b:9292, 1@a:9292"]).unwrap();
        assert_eq!(config.listeners.peer_advertise, "a:9292");
        assert_eq!(config.cluster.bootstrap[0], (NodeId::new(1), "a:9292".to_owned()));
    }
}
