//! What a journal should hold: the oracle.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_journal::{GroupJournal, GroupState, Journal};
use quipu_types::{EntryId, LogIndex, ShardId, Term};

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelGroup {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) entries: BTreeMap<u64, (u64, Bytes)>,
}

impl ModelGroup {
    pub(crate) fn last(&self) -> Option<EntryId> {
        let last = self.entries.last_key_value().map(|(index, (term, _))| id(*term, *index));
        last.or(self.purged)
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index.get() + 1)
    }
}

/// All groups that hold anything.
pub(crate) type Model = BTreeMap<ShardId, ModelGroup>;

/// One frame, as the journal orders them.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Entry(ShardId, EntryId, Bytes),
    Vote(ShardId, Bytes),
    Committed(ShardId, Bytes),
    Truncate(ShardId, Option<LogIndex>),
    Purge(ShardId, EntryId),
    Remove(ShardId),
}

impl Record {
    pub(crate) fn shard(&self) -> ShardId {
        match self {
            Self::Entry(shard, ..)
            | Self::Vote(shard, _)
            | Self::Committed(shard, _)
            | Self::Truncate(shard, _)
            | Self::Purge(shard, _)
            | Self::Remove(shard) => *shard,
        }
    }

    pub(crate) fn apply(&self, model: &mut Model) {
        let shard = self.shard();
        let group = model.entry(shard).or_default();
        match self {
            Self::Entry(_, id, payload) => {
                group.entries.insert(id.index.get(), (id.term.get(), payload.clone()));
            }
            Self::Vote(_, vote) => group.vote = Some(vote.clone()),
            Self::Committed(_, committed) => group.committed = Some(committed.clone()),
            Self::Truncate(_, last_kept) => {
                let end = last_kept.map_or(0, |last| last.get() + 1);
                group.entries.split_off(&end);
            }
            Self::Purge(_, upto) => {
                group.purged = Some(*upto);
                group.entries = group.entries.split_off(&(upto.index.get() + 1));
            }
            Self::Remove(_) => *group = ModelGroup::default(),
        }
        if *group == ModelGroup::default() {
            model.remove(&shard);
        }
    }
}

/// A few characters per payload, so that a failure can be read.
fn brief(payload: &Bytes) -> String {
    format!("{}*{:02x?}", payload.len(), &payload[..payload.len().min(2)])
}

/// One line per group.
pub(crate) fn describe(model: &Model) -> String {
    let mut text = String::new();
    for (shard, group) in model {
        let entries: Vec<String> = group
            .entries
            .iter()
            .map(|(index, (term, payload))| format!("{term}.{index}:{}", brief(payload)))
            .collect();
        text += &format!(
            "  shard {shard}: vote {:?} committed {:?} purged {:?} entries {entries:?}\n",
            group.vote.as_ref().map(brief),
            group.committed.as_ref().map(brief),
            group.purged.map(|purged| purged.to_string()),
        );
    }
    text
}

/// One line per record.
pub(crate) fn describe_records(records: &[Record]) -> String {
    let mut text = String::new();
    for (number, record) in records.iter().enumerate() {
        let what = match record {
            Record::Entry(_, id, payload) => format!("entry {id} {}", brief(payload)),
            Record::Vote(_, vote) => format!("vote {}", brief(vote)),
            Record::Committed(_, committed) => format!("committed {}", brief(committed)),
            Record::Truncate(_, last_kept) => format!("truncate after {last_kept:?}"),
            Record::Purge(_, upto) => format!("purge {upto}"),
            Record::Remove(_) => "remove".to_owned(),
        };
        text += &format!("  {}. shard {} {what}\n", number + 1, record.shard());
    }
    text
}

/// What a journal holds, through its public face, with everything it says about it cross-checked.
pub(crate) fn observe(journal: &Journal) -> Model {
    journal
        .groups()
        .into_iter()
        .map(|shard| (shard, observe_group(&journal.group(shard))))
        .collect()
}

pub(crate) fn observe_group(group: &GroupJournal) -> ModelGroup {
    let state = group.state();
    let GroupState { vote, committed, purged, last, first } = state;
    let mut entries = BTreeMap::new();
    if let Some(first) = first {
        let last = last.expect("a group with a first entry has a last one");
        let read = group.read(first, last.index.next(), usize::MAX).expect("read all");
        assert_eq!(read.first().map(|entry| entry.id.index), Some(first));
        assert_eq!(read.last().map(|entry| entry.id), Some(last));
        for (entry, expected) in read.iter().zip(first.get()..) {
            assert_eq!(entry.id.index.get(), expected, "dense");
            assert_eq!(group.entry_id(entry.id.index), Some(entry.id));
            entries.insert(expected, (entry.id.term.get(), entry.payload.clone()));
        }
    } else {
        assert_eq!(last, purged, "an empty group ends at its purge point");
    }
    let mut starts: Vec<EntryId> = Vec::new();
    for (index, (term, _)) in &entries {
        if starts.last().is_none_or(|last| last.term.get() != *term) {
            starts.push(id(*term, *index));
        }
    }
    assert_eq!(group.term_starts(), starts);
    ModelGroup { vote, committed, purged, entries }
}

/// The number of records after which the model equals what was found, at least `floor`.
pub(crate) fn matching_prefix(
    base: &Model,
    records: &[Record],
    floor: usize,
    found: &Model,
) -> Option<usize> {
    let mut model = base.clone();
    records[..floor].iter().for_each(|record| record.apply(&mut model));
    let mut prefix = floor;
    loop {
        if model == *found {
            return Some(prefix);
        }
        records.get(prefix)?.apply(&mut model);
        prefix += 1;
    }
}
