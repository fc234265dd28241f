//! Arms the node that is about to start, where the build has failpoints.

use quipu_failpoint::VARIABLE;

use crate::exit::Failure;

/// Arms what the variable names. A build without failpoints refuses it: whoever set it would
/// believe that something is tested.
pub(crate) fn arm() -> anyhow::Result<()> {
    let Some(words) = std::env::var_os(VARIABLE) else { return Ok(()) };
    quipu_failpoint::arm(&words.to_string_lossy())
        .map_err(|error| Failure::usage(error.to_string()))
}
