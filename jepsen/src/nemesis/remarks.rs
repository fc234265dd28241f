//! What a run has to say beside its history.

/// What nodes did that clients did not see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// What no fault excuses: a node ended by itself, or went on where it had to end.
    pub(crate) deaths: Vec<String>,
    /// What a fault excuses, and is worth to be known: how nodes ended or refused.
    pub(crate) notes: Vec<String>,
}
