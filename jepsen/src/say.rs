//! The door to the person's terminal.

/// Prints a line beside the results.
#[expect(clippy::print_stderr, reason = "this is the door")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
