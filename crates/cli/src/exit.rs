//! Exit codes scripts can branch on.

use std::process::ExitCode;

use crate::output;

/// A failure with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to exit with.
    pub code: u8,
    /// What to say.
    pub message: String,
}

/// Something was not as asked for.
pub const FAILED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 3;
/// The cluster cannot be reached, or not in time.
pub const UNAVAILABLE: u8 = 5;
/// What was to be made exists, or changed meanwhile.
pub const CONFLICT: u8 = 6;

impl Failure {
    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { code: USAGE, message: message.into() }.into()
    }

    /// A failure with a code of its own.
    pub fn with_code(code: u8, message: impl Into<String>) -> anyhow::Error {
        Self { code, message: message.into() }.into()
    }
}

/// Says what failed and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    output::note(&format!("error: {error:#}"));
    ExitCode::from(code_of(error))
}

fn code_of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(known_code).unwrap_or(FAILED)
}

fn known_code(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.code);
    }
    let error = cause.downcast_ref::<quipu_client::Error>()?;
    Some(if error.is_not_found() {
        NOT_FOUND
    } else if error.is_conflict() {
        CONFLICT
    } else if error.is_unavailable() {
        UNAVAILABLE
    } else {
        FAILED
    })
}
