//! `quipu doctor` on the command line.

use std::path::PathBuf;

use clap::Args;

/// `quipu doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the data directory of a stopped node instead; nothing in it is changed.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Between the two looks that tell what moves from what stands still.
    #[arg(long, default_value = "2s", value_name = "DURATION", conflicts_with = "dir")]
    pub interval: String,
}
