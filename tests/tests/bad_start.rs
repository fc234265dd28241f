//! RELIABILITY §6.1: what a node does not start with, and that it says so: configurations, and
//! data directories that are damaged or belong elsewhere.

#[path = "bad_start/config.rs"]
mod config;
#[path = "bad_start/directory.rs"]
mod directory;
#[path = "bad_start/flags.rs"]
mod flags;
#[path = "bad_start/foreign.rs"]
mod foreign;
#[path = "bad_start/journal.rs"]
mod journal;
#[path = "bad_start/node.rs"]
mod node;
#[path = "bad_start/quipu.rs"]
mod quipu;
#[path = "bad_start/settings.rs"]
mod settings;
#[path = "bad_start/version.rs"]
mod version;
