//! Is a history of one object linearizable? Tries every order, after Wing and Gong, and
//! remembers what it has tried, after Lowe.
//!
//! Exact for any sequential object, exponential at worst: for at most 64 calls.

use std::collections::HashSet;
use std::hash::Hash;

pub mod append_log;
pub mod register;

/// Most calls of one search: the set of calls done is one word.
pub const CALLS_MAX: usize = 64;

/// A sequential object.
pub trait Model {
    /// Its state.
    type State: Clone + Eq + Hash;
    /// A call with its answer.
    type Call;

    /// The state at first.
    fn initial(&self) -> Self::State;

    /// The state after a call, if the call may have this answer in this state.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call and when it began and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span<C> {
    /// When it was invoked.
    pub invoked: u64,
    /// When it was answered; none: it may have happened at any time since, or never.
    pub done: Option<u64>,
    /// The call with its answer.
    pub call: C,
}

/// Whether some order of the calls fits their times and the object.
///
/// # Panics
/// With more than [`CALLS_MAX`] calls.
pub fn is_linearizable<M: Model>(model: &M, calls: &[Span<M::Call>]) -> bool {
    assert!(calls.len() <= CALLS_MAX, "{} calls are too many for a search", calls.len());
    let mut tried = HashSet::new();
    let mut open = vec![(0_u64, model.initial())];
    while let Some((done, state)) = open.pop() {
        let is_left = |place: usize| done & (1 << place) == 0;
        let must_end = calls
            .iter()
            .enumerate()
            .filter(|(place, _)| is_left(*place))
            .filter_map(|(_, call)| call.done)
            .min();
        let Some(must_end) = must_end else { return true };
        if !tried.insert((done, state.clone())) {
            continue;
        }
        for (place, call) in calls.iter().enumerate() {
            if is_left(place)
                && call.invoked < must_end
                && let Some(next) = model.step(&state, &call.call)
            {
                open.push((done | (1 << place), next));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::register::{Register, RegisterCall};
    use super::*;

    fn span(invoked: u64, done: Option<u64>, call: RegisterCall) -> Span<RegisterCall> {
        Span { invoked, done, call }
    }

    #[test]
    fn a_stale_read_of_a_register_is_refused_and_an_overlapping_one_is_not() {
        let write = |from, to, value| span(from, Some(to), RegisterCall::Write(value));
        let read = |from, to, value| span(from, Some(to), RegisterCall::Read(value));
        let stale = [write(1, 2, 5), write(3, 4, 6), read(5, 6, Some(5))];
        assert!(!is_linearizable(&Register, &stale));
        let overlapping = [write(1, 2, 5), write(3, 6, 6), read(4, 5, Some(5))];
        assert!(is_linearizable(&Register, &overlapping));
    }

    #[test]
    fn a_call_without_answer_may_have_happened_or_not() {
        let unclear = span(1, None, RegisterCall::Write(5));
        let read = |from, value| span(from, Some(from + 1), RegisterCall::Read(value));
        assert!(is_linearizable(&Register, &[unclear.clone(), read(2, None), read(4, Some(5))]));
        assert!(!is_linearizable(&Register, &[unclear, read(2, Some(5)), read(4, None)]));
    }
}
