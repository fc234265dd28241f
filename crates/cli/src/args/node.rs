//! `quipu node …`: nodes that are to rest or to leave.

use clap::{Args, Subcommand};

use super::ServeArgs;

/// `quipu node …`.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Shows nodes, what they are there for, and what they hold and lead.
    #[command(alias = "ls")]
    List,
    /// Moves leaderships off a node before it is stopped, and keeps them off.
    ///
    /// Waits until the node leads nothing that another could lead: shards of one replica stay, and
    /// so does everything where no other node is there to take over.
    #[command(
        after_help = "Examples:\n  quipu node drain 2 --for 30m && systemctl restart quipu\n  \
        quipu node drain --local --until-restart --timeout 45s    before a service stops"
    )]
    Drain(DrainArgs),
    /// Lets a drained node work again; one that is being decommissioned stays in the cluster.
    Undrain {
        /// Node id.
        node: u64,
    },
    /// Moves all replicas off a node and removes it; its id is never used again.
    #[command(after_help = "Example:\n  quipu node decommission 1 --yes")]
    Decommission(NodeLeave),
    /// The same for a node that is lost: its replicas are built again on other nodes.
    #[command(after_help = "Example:\n  quipu node replace 1 --yes")]
    Replace(NodeLeave),
}

/// `quipu node drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Node id.
    #[arg(required_unless_present = "local", conflicts_with = "local")]
    pub node: Option<u64>,
    /// The node of this machine: its id and its address are read from the settings that
    /// `quipu serve` reads. It is no error that no other node could lead.
    #[arg(long)]
    pub local: bool,
    /// Work again after this time, whatever happens. Default: 1h; 15m with --until-restart.
    #[arg(long = "for", value_name = "DURATION")]
    pub span: Option<String>,
    /// Work again as soon as the node was started anew. A longer drain that was asked for without
    /// this stays as it is.
    #[arg(long)]
    pub until_restart: bool,
    /// Wait at most this long; then say what the node still leads, and exit with 5.
    #[arg(long, value_name = "DURATION", conflicts_with = "no_wait")]
    pub timeout: Option<String>,
    /// Return once it is decided.
    #[arg(long)]
    pub no_wait: bool,
    /// The settings of --local.
    #[command(flatten)]
    pub settings: ServeArgs,
}

/// A node that is to leave.
#[derive(Debug, Args)]
pub struct NodeLeave {
    /// Node id.
    pub node: u64,
    /// Return once it is decided.
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}
