//! The command line: verbs, flags and their help.

mod cluster;
mod doctor;
mod node;
mod top;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use cluster::{ApplyArgs, ClusterVerb, ExportArgs, FinalizeArgs, RollingArgs, UpgradeVerb};
pub use doctor::DoctorArgs;
pub use node::{DrainArgs, NodeLeave, NodeVerb};
pub use top::TopArgs;

/// What `--version` says: whether this build may be bent is part of it.
const VERSION: &str = if quipu_failpoint::IS_BUILT_IN {
    concat!(env!("CARGO_PKG_VERSION"), " (with failpoints, for tests only)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Quipu: a replicated event log.
#[derive(Debug, Parser)]
#[command(name = "quipu", version = VERSION, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Quick start:\n  quipu dev                            one node, gone at exit\n  \
    quipu local up --nodes 3             three real processes on this machine\n  \
    quipu pub fees '{\"amount\":120}'      publish one event\n  \
    quipu sub fees --from start          follow a topic from its first event"
)]
pub struct Invocation {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Nodes to connect to, as host:port,host:port. Default: the current context, else 127.0.0.1:9192.
    #[arg(long, global = true, env = "QUIPU_SERVERS", value_name = "ADDRESSES")]
    pub servers: Option<String>,
    /// Context to use instead of the current one.
    #[arg(long, global = true, env = "QUIPU_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How results look.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For eyes.
    Table,
    /// For scripts: one JSON document, or one object a line for records.
    Json,
    /// Names or values alone, one a line.
    #[value(alias = "name")]
    Raw,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a node.
    #[command(after_help = "Example:\n  quipu serve --config quipu.toml --set node.id=2")]
    Serve(ServeArgs),
    /// Runs a node for development: temporary data, nothing to configure.
    #[command(after_help = "Example:\n  quipu dev --keep ./data")]
    Dev(DevArgs),
    /// Runs clusters of real processes on this machine.
    #[command(subcommand)]
    Local(LocalVerb),
    /// Creates, shows, changes and deletes topics.
    #[command(subcommand)]
    Topic(TopicVerb),
    /// Shows how far each replica of a partition is; moves partitions to other shards.
    #[command(subcommand)]
    Partition(PartitionVerb),
    /// Says what topics inherit by their names: how long and how much they keep.
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Shows consumer groups, their lag, and moves their positions.
    #[command(subcommand)]
    Group(GroupVerb),
    /// Shows the cluster, declares what is in it, upgrades it, and gives every node its share.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Looks for what is wrong with a cluster, or with a stopped node's directory, and says what to
    /// do; exit code 1 when it finds something.
    #[command(
        after_help = "Examples:\n  quipu doctor\n  quipu doctor --dir /var/lib/quipu -o json"
    )]
    Doctor(DoctorArgs),
    /// Shows nodes, topics and groups at work: who leads, what comes in and goes out, who is behind.
    #[command(after_help = "Examples:\n  quipu top\n  quipu top --once -o json")]
    Top(TopArgs),
    /// Lists nodes, and has them rest or leave.
    #[command(subcommand)]
    Node(NodeVerb),
    /// Moves shards between nodes by hand.
    #[command(subcommand)]
    Shard(ShardVerb),
    /// Publishes events; each is on a quorum of disks when its line is printed.
    #[command(after_help = "Examples:\n  quipu pub fees '{\"amount\":120}'\n  \
        quipu pub fees --file events.jsonl --key-field permit\n  \
        seq 1000 | quipu pub numbers")]
    Pub(PubArgs),
    /// Prints events of a topic as they come.
    #[command(after_help = "Examples:\n  quipu sub fees --from start\n  \
        quipu sub fees --from -10 --until end -o json\n  \
        quipu sub fees --from @-1h -n 100")]
    Sub(SubArgs),
    /// Prints a range of events again and stops at its end.
    #[command(
        after_help = "Example:\n  quipu replay fees --from @2026-01-01T00:00Z --until @2026-02-01T00:00Z"
    )]
    Replay(SubArgs),
    /// Measures throughput and latency, open loop.
    #[command(
        after_help = "Example:\n  quipu bench --partitions 12 --rate 50000 --record-bytes 1KiB --duration 30s"
    )]
    Bench(BenchArgs),
    /// Looks into a node's journal files.
    #[command(subcommand)]
    Journal(JournalVerb),
    /// Checks and explains settings.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Remembers clusters by name.
    #[command(subcommand)]
    Context(ContextVerb),
    /// Prints the reference of error codes as Markdown.
    Errors,
    /// Prints the reference of verbs as Markdown, or writes man pages.
    #[command(hide = true)]
    Manual {
        /// Write a man page for each verb into this directory instead.
        #[arg(long, value_name = "DIR")]
        pages: Option<PathBuf>,
    },
    /// Prints the reference of metrics as Markdown.
    Metrics,
    /// Prints a completion script.
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// `quipu serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file.
    #[arg(long, env = "QUIPU_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// `quipu dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Keep the data in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// A setting; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// `quipu local …`.
#[derive(Debug, Subcommand)]
pub enum LocalVerb {
    /// Starts a cluster and makes it the current context.
    Up {
        /// Number of nodes.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
        nodes: u64,
        /// Where to keep it.
        #[arg(long, default_value = ".quipu", value_name = "DIR")]
        dir: PathBuf,
        /// First port; node n uses three from 10 × n on. Default: free ports.
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
        /// A setting for every node; may be repeated.
        #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
    },
    /// Stops all nodes; the data stays unless --purge.
    Down {
        /// Where the cluster is kept.
        #[arg(long, default_value = ".quipu", value_name = "DIR")]
        dir: PathBuf,
        /// Delete the data as well.
        #[arg(long)]
        purge: bool,
    },
    /// Shows the nodes and their processes.
    Status {
        /// Where the cluster is kept.
        #[arg(long, default_value = ".quipu", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Adds a node to the cluster and starts it.
    Add {
        /// Where the cluster is kept.
        #[arg(long, default_value = ".quipu", value_name = "DIR")]
        dir: PathBuf,
        /// A setting for the new node; may be repeated.
        #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
    },
    /// Starts a stopped node.
    Start(LocalNode),
    /// Ends a node at once (SIGKILL).
    Kill(LocalNode),
    /// Stops a node in its tracks (SIGSTOP).
    Pause(LocalNode),
    /// Lets a paused node go on (SIGCONT).
    Resume(LocalNode),
}

/// A node of a local cluster.
#[derive(Debug, Args)]
pub struct LocalNode {
    /// Node id.
    pub node: u64,
    /// Where the cluster is kept.
    #[arg(long, default_value = ".quipu", value_name = "DIR")]
    pub dir: PathBuf,
}

/// `quipu group …`.
#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// Lists all groups.
    List,
    /// Shows members, positions and lag of a group.
    Describe {
        /// Name of the group.
        group: String,
    },
    /// Shows who is in a group, and who was heard when.
    Members {
        /// Name of the group.
        group: String,
    },
    /// Shows how far a group is, in records and in time.
    Lag {
        /// Name of the group.
        group: String,
        /// Show it again each time this has passed, until interrupted.
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s")]
        watch: Option<String>,
    },
    /// Shows where nobody gets on, the oldest unread record first, and why.
    Stuck {
        /// Name of the group; all by default.
        group: Option<String>,
    },
    /// Moves a group's positions.
    #[command(after_help = "Examples:\n  quipu group reset sms --to start --dry-run\n  \
        quipu group reset sms --topic fees --to @-1h --fence")]
    Reset(ResetArgs),
    /// Deletes a group and its positions.
    Delete {
        /// Name of the group.
        group: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

/// `quipu group reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Name of the group.
    pub group: String,
    /// Where to: start, end, an offset (42), the last n (-10), a time (@2026-01-01T00:00Z) or ago
    /// (@-1h).
    #[arg(long, allow_hyphen_values = true, value_name = "WHERE")]
    pub to: String,
    /// Only this topic; may be repeated. All with a position by default.
    #[arg(long = "topic")]
    pub topics: Vec<String>,
    /// Only this partition; may be repeated.
    #[arg(short, long = "partition")]
    pub partitions: Vec<u32>,
    /// Also while there are members: they are removed, join again and go on from there.
    #[arg(long)]
    pub fence: bool,
    /// Show old and new positions and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

impl ResetArgs {
    /// Whether a partition is to be moved.
    #[must_use]
    pub fn takes(&self, partition: u32) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }
}

/// `quipu topic …`.
#[derive(Debug, Subcommand)]
pub enum TopicVerb {
    /// Creates a topic and waits until it can be written.
    #[command(
        after_help = "Example:\n  quipu topic create fees --partitions 12 --config retention-time=90d"
    )]
    Create {
        /// Its name: 1 to 249 of A-Z a-z 0-9 . _ -
        name: String,
        /// Partitions; more than one means order per key only.
        #[arg(short, long, default_value_t = 1)]
        partitions: u32,
        /// Copies of each partition; default 3, or the number of nodes when there are fewer.
        #[arg(short, long, default_value_t = 0)]
        replication: u32,
        /// A setting of the topic; may be repeated.
        #[arg(short, long = "config", value_name = "KEY=VALUE")]
        config: Vec<String>,
        /// Check everything, create nothing.
        #[arg(long)]
        dry_run: bool,
        /// Succeed when the topic exists already.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Lists topics.
    #[command(alias = "ls")]
    List,
    /// Shows partitions, leaders, offsets and settings.
    Describe {
        /// Its name.
        name: String,
    },
    /// Deletes a topic and all its events.
    Delete {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Changes settings of a topic.
    Alter {
        /// Its name.
        name: String,
        /// Set; may be repeated.
        #[arg(short, long = "config", value_name = "KEY=VALUE")]
        config: Vec<String>,
        /// Back to the default; may be repeated.
        #[arg(long, value_name = "KEY")]
        reset: Vec<String>,
        /// Check everything, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Gives a topic more partitions; there is no way back to fewer.
    #[command(
        after_help = "Keys map to other partitions from then on: the order of a key's events \
        holds among\nthose published before, and among those published after.\n\n\
        Example:\n  quipu topic add-partitions fees --to 12 --dry-run"
    )]
    AddPartitions {
        /// Its name.
        name: String,
        /// How many it is to have, those it has included.
        #[arg(long, value_name = "TOTAL")]
        to: u32,
        /// Check everything, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Gives a topic another number of replicas, while it is written and read.
    #[command(after_help = "Example:\n  quipu topic set-replication fees 5 --dry-run")]
    SetReplication {
        /// Its name.
        name: String,
        /// Copies of each partition.
        replicas: u32,
        /// Check everything, change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Return once it is decided.
        #[arg(long)]
        no_wait: bool,
    },
    /// Deletes the oldest events of a partition.
    Trim {
        /// Its name.
        name: String,
        /// Which partition.
        #[arg(short, long)]
        partition: u32,
        /// First offset to keep; default: keep nothing.
        #[arg(long)]
        before: Option<u64>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `quipu policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Makes a policy, or puts it in place of the one of the same pattern.
    #[command(
        after_help = "Key by key, a topic's own setting comes first, then the policy with the \
        longest beginning\nbefore its first *, then the default. It acts at once, on topics that \
        exist as well.\n\nExamples:\n  \
        quipu policy set 'healthtech.*' --config retention-time=90d --dry-run\n  \
        quipu policy set '*' -c retention-time=30d -c retention-bytes=10GiB"
    )]
    Set {
        /// For which topics: a name in which each * stands for any characters.
        pattern: String,
        /// What they inherit: retention-time, retention-bytes, segment-bytes, segment-time; may
        /// be repeated.
        #[arg(short, long = "config", value_name = "KEY=VALUE", required = true)]
        config: Vec<String>,
        /// Check everything, say how many topics it concerns, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists policies, and how many topics have a setting from each.
    #[command(alias = "ls", after_help = "Example:\n  quipu policy list -o json")]
    List,
    /// Deletes a policy: its topics go back to less specific ones, or the defaults.
    #[command(after_help = "Example:\n  quipu policy delete 'healthtech.*' --dry-run")]
    Delete {
        /// Its pattern.
        pattern: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// Show what would go, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `quipu partition …`.
#[derive(Debug, Subcommand)]
pub enum PartitionVerb {
    /// Moves partitions of a topic to another shard, while they are written and read.
    #[command(after_help = "To call a move off, move the partition to the shard it has.\n\n\
        Example:\n  quipu partition move fees 0 3 --to 5")]
    Move {
        /// The topic.
        topic: String,
        /// Partitions, by index.
        #[arg(required = true)]
        partitions: Vec<u32>,
        /// The shard.
        #[arg(long, value_name = "SHARD")]
        to: u32,
        /// Return once it is decided.
        #[arg(long)]
        no_wait: bool,
    },
    /// Shows for each replica what it is, how far it is, and what it receives.
    #[command(after_help = "Examples:\n  quipu partition describe fees 0\n  \
        quipu partition describe fees 0 -o json")]
    Describe {
        /// Name of the topic.
        topic: String,
        /// Index of the partition.
        partition: u32,
    },
}

/// `quipu shard …`.
#[derive(Debug, Subcommand)]
pub enum ShardVerb {
    /// Moves the replicas of a shard to these nodes.
    #[command(after_help = "Example:\n  quipu shard move 3 --to 4,1,2")]
    Move {
        /// Shard id.
        shard: u32,
        /// Nodes, the preferred leader first; as many as the shard has replicas.
        #[arg(long, required = true, value_delimiter = ',', value_name = "NODES")]
        to: Vec<u64>,
        /// Return once it is decided.
        #[arg(long)]
        no_wait: bool,
    },
    /// Hands the leadership of a shard to a node.
    Lead {
        /// Shard id.
        shard: u32,
        /// Node id.
        #[arg(long)]
        by: u64,
    },
}

/// `quipu pub`.
#[derive(Debug, Args)]
pub struct PubArgs {
    /// Topic; it is created with one partition if --create is given.
    pub topic: String,
    /// The event; without it, one event per line of --file or standard input.
    pub value: Option<String>,
    /// Read events from a file, one a line.
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub file: Option<PathBuf>,
    /// Key of every event: same key, same partition, in order.
    #[arg(short, long)]
    pub key: Option<String>,
    /// Take the key from this field of each JSON event.
    #[arg(long, value_name = "FIELD", conflicts_with = "key")]
    pub key_field: Option<String>,
    /// A header, name=value; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// When an event counts as stored: none, leader or quorum.
    #[arg(long, default_value = "quorum")]
    pub acks: String,
    /// Compression: none, lz4, zstd, snappy or gzip.
    #[arg(long, default_value = "none")]
    pub compression: String,
    /// Create the topic when it does not exist.
    #[arg(long)]
    pub create: bool,
    /// Give up on an event after this time.
    #[arg(long, default_value = "2m")]
    pub timeout: String,
}

/// `quipu sub` and `quipu replay`.
#[derive(Debug, Args)]
pub struct SubArgs {
    /// Topic.
    pub topic: String,
    /// Where to begin: start, end, an offset (42), the last n (-10), a time (@2026-01-01T00:00Z) or
    /// ago (@-1h).
    #[arg(long, allow_hyphen_values = true, value_name = "WHERE")]
    pub from: Option<String>,
    /// Where to stop: never, end (as of now), an offset or a time.
    #[arg(long, allow_hyphen_values = true, value_name = "WHERE")]
    pub until: Option<String>,
    /// Stop after this many events.
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// Only this partition; may be repeated.
    #[arg(short, long = "partition")]
    pub partitions: Vec<u32>,
    /// Share the topic with the others of this group; an event is acked once it was printed.
    #[arg(long, conflicts_with_all = ["until", "partitions"])]
    pub group: Option<String>,
}

/// `quipu bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Topic to use; created anew with a random name by default.
    #[arg(long)]
    pub topic: Option<String>,
    /// Partitions of the topic.
    #[arg(short, long, default_value_t = 12)]
    pub partitions: u32,
    /// Records per second to offer; 0 = as fast as the cluster takes them.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Size of one record.
    #[arg(long, default_value = "1KiB")]
    pub record_bytes: String,
    /// Size of the client's batches.
    #[arg(long, default_value = "64KiB")]
    pub batch_bytes: String,
    /// How long the client waits for a batch to fill.
    #[arg(long, default_value = "5ms")]
    pub linger: String,
    /// Producers, each with its own connections.
    #[arg(long, default_value_t = 1)]
    pub producers: u32,
    /// Time before measuring.
    #[arg(long, default_value = "5s")]
    pub warmup: String,
    /// Time to measure.
    #[arg(long, default_value = "30s")]
    pub duration: String,
    /// When an event counts as stored: leader or quorum.
    #[arg(long, default_value = "quorum")]
    pub acks: String,
    /// Metrics addresses of the nodes, for their CPU time and flushes; default: of a local cluster.
    #[arg(long, value_name = "ADDRESSES")]
    pub metrics: Option<String>,
    /// Keep the topic afterwards.
    #[arg(long)]
    pub keep: bool,
}

/// `quipu journal …`.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Prints the frames of a journal directory; the node must be stopped.
    Dump {
        /// The `journal` directory of a node's data directory.
        dir: PathBuf,
    },
}

/// `quipu config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Checks a file together with environment and flags.
    Check(ServeArgs),
    /// Prints every setting with its value and origin.
    Show(ServeArgs),
    /// Prints the reference page as Markdown.
    Reference,
}

/// `quipu context …`.
#[derive(Debug, Subcommand)]
pub enum ContextVerb {
    /// Remembers a cluster and makes it current.
    Add {
        /// Its name.
        name: String,
        /// Its nodes, as host:port,host:port.
        servers: String,
    },
    /// Makes a remembered cluster current.
    Use {
        /// Its name.
        name: String,
    },
    /// Lists what is remembered.
    #[command(alias = "ls")]
    List,
    /// Forgets a cluster.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Prints the completion script of a shell.
pub(crate) fn completion(shell: clap_complete::Shell) -> anyhow::Result<()> {
    clap_complete::generate(shell, &mut Invocation::command(), "quipu", &mut std::io::stdout());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Invocation::command().debug_assert();
    }

    #[test]
    fn negative_starts_are_values_not_flags() {
        let parsed = Invocation::try_parse_from(["quipu", "sub", "fees", "--from", "-10"]);
        let Ok(Invocation { command: Command::Sub(args), .. }) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!(args.from.as_deref(), Some("-10"));
    }
}
