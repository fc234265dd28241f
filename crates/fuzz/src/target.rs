//! The table of targets.

use crate::targets as t;

/// What a target made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The readers refused it.
    Refused,
    /// They took it, and what follows from it was checked too.
    Accepted,
}

impl Verdict {
    /// Accepted if either is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Accepted { self } else { other }
    }

    /// Accepted if something was taken.
    #[must_use]
    pub fn when(is_accepted: bool) -> Self {
        if is_accepted { Self::Accepted } else { Self::Refused }
    }
}

/// A valid input, made by the product's own writers, and its name in the corpus.
pub type Seed = (&'static str, Vec<u8>);

/// One reader of foreign bytes, and what is promised of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and the name of its corpus.
    pub name: &'static str,
    /// What it covers.
    pub covers: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]) -> Verdict,
    /// Inputs that are accepted.
    pub seeds: fn() -> Vec<Seed>,
}

macro_rules! targets {
    ($($name:literal, $covers:literal, $run:path, $seeds:path;)+) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[
            $(Target { name: $name, covers: $covers, run: $run, seeds: $seeds }),+
        ];
    };
}

targets! {
    "record_batch", "a batch as a producer sends it: layout, checksum, records",
        t::record_batch::run, t::record_batch::seeds;
    "batch_run", "batches back to back, as a fetch returns them",
        t::batch_run::run, t::batch_run::seeds;
    "decompress_gzip", "gzip streams under a limit",
        t::decompress::gzip, t::decompress::gzip_seeds;
    "decompress_snappy", "snappy streams under a limit",
        t::decompress::snappy, t::decompress::snappy_seeds;
    "decompress_lz4", "LZ4 frames under a limit",
        t::decompress::lz4, t::decompress::lz4_seeds;
    "decompress_zstd", "Zstandard frames under a limit",
        t::decompress::zstd, t::decompress::zstd_seeds;
    "journal_files", "recovery of a journal from files of any bytes",
        t::journal_files::run, t::journal_files::seeds;
    "journal_damage", "recovery of a journal that was written and then damaged",
        t::journal_damage::run, t::journal_damage::seeds;
    "segment_files", "opening a log from files and a checkpoint of any bytes",
        t::segment_files::run, t::segment_files::seeds;
    "segment_damage", "opening a log that was written and then damaged",
        t::segment_damage::run, t::segment_damage::seeds;
    "segment_index", "any index files beside a whole log",
        t::segment_index::run, t::segment_index::seeds;
    "compaction", "compaction of a log with a batch of any bytes",
        t::compaction::run, t::compaction::seeds;
    "partition_checkpoint", "the state of a partition",
        t::partition_checkpoint::run, t::partition_checkpoint::seeds;
    "kv_key", "keys of the tables",
        t::kv_key::run, t::kv_key::seeds;
    "shard_rows", "a shard's checkpoint: its rows in the tables",
        t::shard_rows::run, t::shard_rows::seeds;
    "bundle", "a bundle of commands, and the reply to one",
        t::bundle::run, t::bundle::seeds;
    "shard_apply", "bundles applied to a shard",
        t::shard_apply::run, t::shard_apply::seeds;
    "shard_snapshot", "a shard's snapshot: manifest, chunks, installation",
        t::shard_snapshot::run, t::shard_snapshot::seeds;
    "group_commands", "commands of consumer groups, decoded and applied",
        t::group_commands::run, t::group_commands::seeds;
    "group_state", "rows and snapshots of consumer groups, and commands on top",
        t::group_state::run, t::group_state::seeds;
    "raft_stored", "votes, committed marks, entries and memberships in the journal",
        t::raft_stored::run, t::raft_stored::seeds;
    "raft_frames", "frames between nodes",
        t::raft_frames::run, t::raft_frames::seeds;
    "grpc_requests", "requests of clients up to the broker",
        t::grpc_requests::run, t::grpc_requests::seeds;
    "topic_requests", "requests on topics up to the metadata's state machine",
        t::topic_requests::run, t::topic_requests::seeds;
    "subscription", "names and patterns of a subscription",
        t::subscription::run, t::subscription::seeds;
    "metadata_commands", "commands of the metadata group, decoded and applied",
        t::metadata_commands::run, t::metadata_commands::seeds;
    "metadata_state", "rows and snapshots of the metadata, and commands on top",
        t::metadata_state::run, t::metadata_state::seeds;
    "identity_file", "the VERSION file of a data directory",
        t::identity_file::run, t::identity_file::seeds;
    "config_toml", "configuration files",
        t::config_toml::run, t::config_toml::seeds;
    "cli_values", "sizes, durations, positions and addresses as people write them",
        t::cli_values::run, t::cli_values::seeds;
    "cli_args", "command lines",
        t::cli_args::run, t::cli_args::seeds;
}

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
