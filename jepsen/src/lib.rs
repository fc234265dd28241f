//! Chaos suite: what clients and nodes did is written down as a history, and judged afterwards.
//!
//! - [`history`]: the format, one JSON object per line (`HISTORY.md`); a streaming reader and
//!   writer, and the [`history::Recorder`] for many tasks at once.
//! - [`checker`]: reads a history once and names every anomaly, each with its evidence.
//! - [`search`]: a slow second opinion that tries every order; for short histories and tests.
//! - [`chaos`]: one run: a [`cluster`] of real processes, a workload, a [`nemesis`] that follows a
//!   plan drawn from a seed, the verdict, and a [`page`] to look at.
//! - [`campaign`]: the results of many runs, with what each fault cost ([`figures`]).
//! - The checker must not know how a cluster is started, loaded or broken.
//! - Invariants: nothing is guessed: an operation without an answer may or may not have
//!   happened, and a history that does not prove enough is `unknown`, never `valid`.
//! - Start reading at [`checker::Checker`].

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each check looks at a few of many kinds of lines"
)]

pub mod campaign;
pub mod chaos;
pub mod checker;
pub mod cluster;
pub mod figures;
pub mod history;
pub mod nemesis;
pub mod page;
mod say;
pub mod search;
pub mod table;
mod workload;
