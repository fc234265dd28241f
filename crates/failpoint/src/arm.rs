//! From words to armed places.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{BENDS, IS_BUILT_IN, PLANTS, POINTS, reach};

/// The variable that arms a node at its start.
pub const VARIABLE: &str = "QUIPU_FAILPOINTS";
/// The word for an end without unwinding.
const CRASH: &str = "crash";

/// Why nothing was armed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// A build without the feature.
    #[error(
        "{VARIABLE} is set, but this build has no failpoints: unset it, or build quipu-cli with the feature `failpoints`"
    )]
    NotBuiltIn,
    /// Not `name=action`.
    #[error("{VARIABLE}: {words:?} is not name=action")]
    NotAnArming {
        /// The words.
        words: String,
    },
    /// No place of this name.
    #[error("{VARIABLE}: there is no failpoint {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// An action that nobody understands.
    #[error("{VARIABLE}: {name}: {action:?}: {reason}")]
    Action {
        /// The place.
        name: String,
        /// The action.
        action: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Arms places: `name=action;name=action`.
///
/// Actions are those of the crate `fail` (`return` makes a plant or a bend act, `off` ends it), and two
/// more: `crash` ends the process at once, `N*off->crash` lets N pass before. Nothing is armed
/// when any of it is wrong.
///
/// # Errors
/// [`ArmError`], whose sentence is for whoever set the variable.
pub fn arm(words: &str) -> Result<(), ArmError> {
    for (name, action) in read(IS_BUILT_IN, words)? {
        let armed = match action {
            Action::Crash { after } => fail::cfg_callback(name, crash_after(after)),
            Action::Other(action) => fail::cfg(name, action),
        };
        armed.map_err(|reason| refused(name, "", &reason))?;
        reach::note_armed();
    }
    Ok(())
}

/// What a place is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action<'a> {
    Crash { after: u64 },
    Other(&'a str),
}

fn read(is_built_in: bool, words: &str) -> Result<Vec<(&str, Action<'_>)>, ArmError> {
    if !is_built_in {
        return Err(ArmError::NotBuiltIn);
    }
    let parts = words.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(read_one).collect()
}

fn read_one(words: &str) -> Result<(&str, Action<'_>), ArmError> {
    let (name, action) =
        words.split_once('=').ok_or_else(|| ArmError::NotAnArming { words: words.to_owned() })?;
    let is_plant = PLANTS.iter().any(|plant| plant.name == name);
    if !is_plant && !POINTS.contains(&name) && !BENDS.contains(&name) {
        return Err(ArmError::Unknown { name: name.to_owned() });
    }
    Ok((name, read_action(name, action)?))
}

fn read_action<'a>(name: &str, action: &'a str) -> Result<Action<'a>, ArmError> {
    let Some(before) = action.strip_suffix(CRASH) else { return Ok(Action::Other(action)) };
    if before.is_empty() {
        return Ok(Action::Crash { after: 0 });
    }
    let passes = before.strip_suffix("*off->").and_then(|passes| passes.parse().ok());
    let after = passes.ok_or_else(|| refused(name, action, "write crash or N*off->crash"))?;
    Ok(Action::Crash { after })
}

fn refused(name: &str, action: &str, reason: &str) -> ArmError {
    let (name, action, reason) = (name.to_owned(), action.to_owned(), reason.to_owned());
    ArmError::Action { name, action, reason }
}

fn crash_after(passes: u64) -> impl Fn() + Send + Sync + 'static {
    let left = AtomicU64::new(passes);
    move || {
        let is_pass = |left: u64| left.checked_sub(1);
        if left.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_pass).is_err() {
            crash();
        }
    }
}

/// Ends the process as power does, as far as a process can: no unwinding, no flush.
fn crash() -> ! {
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    killed.expect("a process may signal itself");
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_or_refused_with_a_sentence() {
        let [first, second, ..] = POINTS else { panic!("there are points") };
        let words = format!("{first}=crash; {second}=3*off->crash;");
        let expected =
            vec![(*first, Action::Crash { after: 0 }), (*second, Action::Crash { after: 3 })];
        assert_eq!(read(true, &words), Ok(expected));
        assert_eq!(read(true, ""), Ok(Vec::new()));
        for (words, part) in [
            ("journal.flush.before", "is not name=action"),
            ("journal.flush.sideways=crash", "there is no failpoint \"journal.flush.sideways\""),
            ("journal.flush.before=x*off->crash", "write crash or N*off->crash"),
        ] {
            let refused = read(true, words).expect_err(words).to_string();
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn a_build_without_failpoints_refuses_every_word() {
        assert_eq!(read(false, "journal.flush.before=crash"), Err(ArmError::NotBuiltIn));
        assert_eq!(read(false, ""), Err(ArmError::NotBuiltIn));
        assert_eq!(arm("").is_ok(), IS_BUILT_IN);
    }
}
