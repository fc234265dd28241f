//! Why a life of the node ends before its time.

/// Why a life ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A planned fault struck: the process ends, as it should.
    Fault,
    /// Something is wrong with the program.
    Violation(String),
}

/// What a step of the simulation gives.
pub(crate) type Step<T = ()> = Result<T, Stop>;

impl Stop {
    pub(crate) fn violation(what: impl Into<String>) -> Self {
        Self::Violation(what.into())
    }
}

/// Refuses what must not be.
pub(crate) fn check(holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(Stop::Violation(what())) }
}
