//! `quipu top` on the command line.

use clap::Args;

/// `quipu top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// How often to look.
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    pub every: String,
    /// Look twice, so far apart, print what there was between, and stop.
    #[arg(long)]
    pub once: bool,
}
