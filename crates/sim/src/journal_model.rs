//! What one group's part of the journal should hold after a start.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_journal::GroupJournal;
use quipu_types::{EntryId, LogIndex};

use crate::stop::{Step, Stop};

/// What a group holds, but for the committed id, which promises less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) vote: Option<Bytes>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) entries: BTreeMap<LogIndex, (EntryId, Bytes)>,
}

/// One call, as the journal orders them.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Entry(EntryId, Bytes),
    Vote(Bytes),
    TruncateAfter(Option<LogIndex>),
    Purge(EntryId),
}

/// What was there at the start, and every call since.
#[derive(Debug, Default)]
pub(crate) struct JournalModel {
    base: Held,
    records: Vec<Record>,
}

impl Held {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Entry(id, payload) => {
                self.entries.insert(id.index, (*id, payload.clone()));
            }
            Record::Vote(vote) => self.vote = Some(vote.clone()),
            Record::TruncateAfter(last_kept) => {
                let end = last_kept.map_or(LogIndex::new(0), LogIndex::next);
                self.entries.split_off(&end);
            }
            Record::Purge(upto) => {
                self.purged = Some(*upto);
                self.entries = self.entries.split_off(&upto.index.next());
            }
        }
    }

    /// Reads what a group holds.
    pub(crate) fn read(group: &GroupJournal) -> Result<Self, String> {
        let state = group.state();
        let mut entries = BTreeMap::new();
        if let (Some(first), Some(last)) = (state.first, state.last) {
            let read = group.read(first, last.index.next(), usize::MAX);
            for entry in read.map_err(|error| error.to_string())? {
                entries.insert(entry.id.index, (entry.id, entry.payload));
            }
            let (least, most) = (entries.keys().next(), entries.keys().last());
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            let is_dense = last.index.get() - first.get() + 1 == count;
            if !is_dense || least != Some(&first) || most != Some(&last.index) {
                return Err(format!("journal shows {first} to {last} and reads {count} entries"));
            }
        }
        Ok(Self { vote: state.vote, purged: state.purged, entries })
    }

    fn describe(&self) -> String {
        let ids: Vec<String> = self.entries.values().map(|(id, _)| id.to_string()).collect();
        let purged = self.purged.map(|id| id.to_string());
        format!("vote {:02x?}, purged {purged:?}, entries {ids:?}", self.vote.as_deref())
    }
}

impl JournalModel {
    /// Notes a call.
    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Calls since the start.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// Checks that what a start found is some prefix of the calls, with all that was acknowledged;
    /// from now on it is what was there at the start.
    pub(crate) fn recovered(&mut self, acknowledged: usize, found: Held) -> Step {
        let mut held = self.base.clone();
        self.records[..acknowledged].iter().for_each(|record| held.apply(record));
        let mut rest = self.records[acknowledged..].iter();
        while held != found {
            let Some(record) = rest.next() else {
                return Err(Stop::violation(self.explain(acknowledged, &found)));
            };
            held.apply(record);
        }
        self.base = found;
        self.records.clear();
        Ok(())
    }

    fn explain(&self, acknowledged: usize, found: &Held) -> String {
        let mut whole = self.base.clone();
        self.records.iter().for_each(|record| whole.apply(record));
        format!(
            "journal after a start is no prefix of the calls that keeps the first {acknowledged} of \
             {}:\n  found: {}\n  at the start before: {}\n  after all calls: {}",
            self.records.len(),
            found.describe(),
            self.base.describe(),
            whole.describe(),
        )
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::Term;

    use super::*;

    fn entry(index: u64) -> Record {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Record::Entry(id, Bytes::from_static(b"payload"))
    }

    fn held(records: &[Record]) -> Held {
        let mut held = Held::default();
        records.iter().for_each(|record| held.apply(record));
        held
    }

    #[test]
    fn any_prefix_with_what_was_acknowledged_will_do_and_nothing_else() {
        let all = [entry(0), entry(1), Record::TruncateAfter(Some(LogIndex::new(0))), entry(1)];
        let outcome = |acknowledged, found: &[Record]| {
            let mut model = JournalModel::default();
            all.iter().cloned().for_each(|record| model.record(record));
            model.recovered(acknowledged, held(found)).is_ok()
        };
        assert!(outcome(1, &all[..1]) && outcome(1, &all[..3]) && outcome(4, &all));
        assert!(!outcome(4, &all[..3]), "an acknowledged entry is lost");
        assert!(!outcome(0, &[entry(7)]), "an entry is invented");
    }
}
