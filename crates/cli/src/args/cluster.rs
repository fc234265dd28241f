//! `quipu cluster` on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `quipu cluster …`.
#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// Shows nodes and shards.
    Info,
    /// Says whether all is well and what is not; exit code 1 when it is not.
    Health {
        /// Say it again each time this has passed, until interrupted.
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s")]
        watch: Option<String>,
    },
    /// Moves replicas and leaderships until every node has its share: after nodes joined.
    #[command(after_help = "Examples:\n  quipu cluster rebalance --dry-run\n  \
        quipu cluster rebalance --at-once 4 --yes\n  quipu cluster rebalance --cancel")]
    Rebalance {
        /// Show the plan, change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Drop what is planned; moves that have begun go on to their end.
        #[arg(long, conflicts_with_all = ["dry_run", "at_once"])]
        cancel: bool,
        /// Moves under way at once; two by default.
        #[arg(long, default_value_t = 0, value_name = "MOVES")]
        at_once: u32,
        /// Return once the plan is accepted.
        #[arg(long)]
        no_wait: bool,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Prints topics and policies as YAML, for `apply`.
    #[command(after_help = "Examples:\n  quipu cluster export > topology.yaml\n  \
        quipu cluster export --file topology.yaml")]
    Export(ExportArgs),
    /// Makes topics and policies as a file declares them. What the file does not name stays.
    #[command(after_help = "The file, strictly read:\n\n  \
        apiVersion: quipu/v1\n  topics:\n  - name: fees\n    partitions: 12\n    \
        replication: 3\n    config:\n      retention-time: 90d\n  policies:\n  \
        - pattern: 'healthtech.*'\n    config:\n      retention-time: 30d\n\n\
        A topic without partitions or replication keeps what it has; a new one gets 1, and the \
        cluster's default.\n\nExamples:\n  quipu cluster apply -f topology.yaml --dry-run\n  \
        quipu cluster apply -f topology.yaml --prune --yes")]
    Apply(ApplyArgs),
    /// Shows how far an upgrade is, and ends it.
    #[command(subcommand)]
    Upgrade(UpgradeVerb),
    /// Restarts the nodes of a local cluster one after the other, so that it serves all the time.
    #[command(after_help = "Called again after it stopped, it goes on where it was.\n\n\
        Examples:\n  quipu cluster rolling-restart\n  \
        quipu cluster rolling-restart --node 2 --node 3")]
    RollingRestart(RollingArgs),
}

/// `quipu cluster export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `quipu cluster apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file; - for standard input.
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    /// Show what would change, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete topics and policies that the file does not name, and settings that it does not have.
    #[arg(long)]
    pub prune: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// `quipu cluster upgrade …`.
#[derive(Debug, Subcommand)]
pub enum UpgradeVerb {
    /// Shows each node's release and format levels, and what `finalize` would do.
    #[command(after_help = "Example:\n  quipu cluster upgrade status -o json")]
    Status,
    /// Lets nodes write the new release's formats: from then on there is no way back.
    #[command(after_help = "Refused while a node does not have the level.\n\n\
        Example:\n  quipu cluster upgrade finalize --dry-run")]
    Finalize(FinalizeArgs),
}

/// `quipu cluster upgrade finalize`.
#[derive(Debug, Args)]
pub struct FinalizeArgs {
    /// The level; the newest that any node has by default.
    #[arg(long)]
    pub level: Option<u32>,
    /// Check everything, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// `quipu cluster rolling-restart`.
#[derive(Debug, Args)]
pub struct RollingArgs {
    /// Where the local cluster is kept.
    #[arg(long, default_value = ".quipu", value_name = "DIR")]
    pub dir: PathBuf,
    /// Only this node; may be repeated.
    #[arg(long = "node", value_name = "ID")]
    pub nodes: Vec<u64>,
    /// Begin with the first node again instead of going on.
    #[arg(long, conflicts_with = "nodes")]
    pub again: bool,
    /// How long each step of a node may take.
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    pub timeout: String,
}
