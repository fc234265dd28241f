//! A log: values get the next offset, the end is exact, reads return what lies there.

use super::Model;

/// An empty log.
#[derive(Clone, Copy, Debug)]
pub struct AppendLog;

/// A call with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCall {
    /// Appends a value; none: the offset is not known.
    Append(u64, Option<u64>),
    /// The number of values.
    End(u64),
    /// Values from an offset on. A reader may lag, so that more may lie behind them.
    Read(u64, Vec<u64>),
}

impl Model for AppendLog {
    type State = Vec<u64>;
    type Call = LogCall;

    fn initial(&self) -> Self::State {
        Vec::new()
    }

    fn step(&self, state: &Self::State, call: &LogCall) -> Option<Self::State> {
        match call {
            LogCall::Append(value, offset) => {
                let fits = offset.is_none_or(|offset| offset == state.len() as u64);
                fits.then(|| state.iter().copied().chain([*value]).collect())
            }
            LogCall::End(end) => (*end == state.len() as u64).then(|| state.clone()),
            LogCall::Read(from, values) => {
                let from = usize::try_from(*from).ok()?;
                let window = state.get(from..from.checked_add(values.len())?)?;
                (window == values).then(|| state.clone())
            }
        }
    }
}
