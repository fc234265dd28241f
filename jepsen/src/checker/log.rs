//! What the history says about one partition: what was sent, and what lies where.

use std::collections::{BTreeMap, HashMap};

use super::Anomaly;
use super::family::{Completed, Moment, Open};
use super::finding::Findings;
use super::interval::Offsets;
use crate::history::{Acks, Call, Outcome, Partition, Stamp, Value};

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It may have happened, or may still.
    Unclear,
    /// It was acknowledged.
    Ok,
    /// It did not happen.
    Fail,
}

/// One append; a retry is an append of its own that names the original.
#[derive(Debug)]
pub(crate) struct Append {
    pub process: u64,
    pub invoked: Moment,
    pub done: Moment,
    pub status: Status,
    pub offset: Option<u64>,
    pub code: Option<String>,
    pub acks: Acks,
    pub producer: Option<Stamp>,
    pub resends: bool,
    pub retry_of: Option<usize>,
    /// Where its values lie in [`Log::sent`].
    pub first: usize,
    pub count: usize,
}

impl Append {
    /// Acknowledged by a quorum: the offset is final.
    pub(crate) fn is_final(&self) -> bool {
        self.status == Status::Ok && self.acks == Acks::Quorum
    }
}

/// One value that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub id: u64,
    pub sum: u32,
    pub append: usize,
    /// The first offset it was seen at.
    pub seen_at: Option<u64>,
    /// A reader got it.
    pub read: bool,
}

/// What lies at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub value: Value,
    /// Place in [`Log::sent`], if it was sent here.
    pub sent: Option<usize>,
    pub stamp: Option<Stamp>,
    /// First line that says so.
    pub line: u64,
    /// The first read that returned it.
    pub first_read: Option<Moment>,
}

/// A record as an acknowledgement or a read shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub value: Value,
    pub stamp: Option<Stamp>,
    pub line: u64,
    /// Set when a read shows it.
    pub read: Option<Moment>,
}

/// An answer that names the end of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Present when the end was at least this when the call began: a linearizable answer.
    pub invoked: Option<Moment>,
    pub done: Moment,
    pub end: u64,
}

/// What the history says about one partition.
#[derive(Debug)]
pub(crate) struct Log {
    pub name: Partition,
    pub appends: Vec<Append>,
    pub sent: Vec<Sent>,
    pub by_value: HashMap<u64, usize>,
    pub slots: BTreeMap<u64, Slot>,
    pub ends: Vec<End>,
    /// Values read here that were never sent here: offset, value, line.
    pub strangers: Vec<(u64, Value, u64)>,
    /// Offsets that some read passed over or returned.
    pub covered: Offsets,
    /// As `covered`, by the final reads alone.
    pub final_covered: Offsets,
    /// Greatest high watermark that the final reads were told.
    pub final_end: Option<u64>,
    /// Greatest log start anybody saw.
    pub log_start: u64,
    /// Greatest end that a read proved.
    pub high_watermark: u64,
}

impl Log {
    fn new(name: Partition) -> Self {
        Self {
            name,
            appends: Vec::new(),
            sent: Vec::new(),
            by_value: HashMap::new(),
            slots: BTreeMap::new(),
            ends: Vec::new(),
            strangers: Vec::new(),
            covered: Offsets::default(),
            final_covered: Offsets::default(),
            final_end: None,
            log_start: 0,
            high_watermark: 0,
        }
    }

    /// Whether the final reads went from the log start to the end.
    pub(crate) fn is_read_to_the_end(&self) -> bool {
        self.final_end
            .is_some_and(|end| self.final_covered.first_missing(self.log_start, end).is_none())
    }

    /// The first offset no record is known at or above.
    pub(crate) fn end(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// The append that a slot's value came with.
    pub(crate) fn append_at(&self, slot: &Slot) -> Option<&Append> {
        slot.sent.map(|sent| &self.appends[self.sent[sent].append])
    }

    /// Where an append's first record lies: acknowledged there, or read there.
    pub(crate) fn base_of(&self, append: &Append) -> Option<u64> {
        let acked = append.offset.filter(|_| append.is_final());
        acked.or_else(|| {
            let values = self.sent[append.first..append.first + append.count].iter();
            values
                .enumerate()
                .filter(|(_, sent)| sent.read)
                .find_map(|(place, sent)| sent.seen_at?.checked_sub(place as u64))
        })
    }

    pub(crate) fn raise_log_start(&mut self, to: u64) {
        self.log_start = self.log_start.max(to);
    }

    fn send(&mut self, open: &Open, acks: Acks, producer: Option<Stamp>, values: &[Value]) {
        let known = values.first().and_then(|value| self.by_value.get(&value.0)).copied();
        let retry_of = known.map(|sent| self.sent[sent].append);
        let first = known.unwrap_or(self.sent.len());
        if known.is_none() {
            for Value(id, sum) in values.iter().copied() {
                let append = self.appends.len();
                self.by_value.insert(id, self.sent.len());
                self.sent.push(Sent { id, sum, append, seen_at: None, read: false });
            }
        }
        let resends = matches!(open.call, Call::Append { resends: true, .. });
        self.appends.push(Append {
            process: open.process,
            invoked: open.invoked,
            done: Moment::NEVER,
            status: Status::Unclear,
            offset: None,
            code: None,
            acks,
            producer,
            resends: resends || (retry_of.is_some() && producer.is_none()),
            retry_of,
            first,
            count: values.len(),
        });
    }

    /// Notes that a value lies at an offset, as an acknowledgement or a read says.
    pub(crate) fn place(&mut self, offset: u64, record: Record, out: &mut Findings) {
        let Record { value, stamp, line, read } = record;
        let sent = self.by_value.get(&value.0).copied();
        if let Some(slot) = self.slots.get_mut(&offset) {
            let before = *slot;
            slot.first_read = before.first_read.or(read);
            slot.stamp = before.stamp.or(stamp);
            if before.first_read.is_none() && read.is_some() {
                slot.value.1 = value.1;
            }
            self.compare(offset, &before, (value, line, read.is_some()), out);
            if sent.is_none() && before.value.0 != value.0 {
                self.strangers.push((offset, value, line));
            }
        } else {
            self.slots.insert(offset, Slot { value, sent, stamp, line, first_read: read });
            if sent.is_none() {
                self.strangers.push((offset, value, line));
            }
        }
        if let Some(sent) = sent {
            self.link(sent, offset, (value, line, read.is_some()), out);
        }
    }

    fn compare(
        &self,
        offset: u64,
        before: &Slot,
        (value, line, is_read): (Value, u64, bool),
        out: &mut Findings,
    ) {
        let lines = [before.line, line];
        if before.value.0 != value.0 {
            out.report(Anomaly::InconsistentOffsets, &self.name, &[offset], &lines, || {
                format!("offset {offset} held value {} and later {}", before.value.0, value.0)
            });
        }
        if is_read && before.first_read.is_some() && before.value != value {
            out.report(Anomaly::UnstablePrefix, &self.name, &[offset], &lines, || {
                format!("two reads of offset {offset} gave different bytes")
            });
        }
    }

    fn link(
        &mut self,
        place: usize,
        offset: u64,
        (value, line, is_read): (Value, u64, bool),
        out: &mut Findings,
    ) {
        let sent = &mut self.sent[place];
        sent.read |= is_read;
        if is_read && sent.sum != value.1 {
            out.report(Anomaly::Payload, &self.name, &[offset], &[line], || {
                format!(
                    "value {} was sent with sum {} and read with {}",
                    sent.id, sent.sum, value.1
                )
            });
        }
        let Some(other) = sent.seen_at.replace(sent.seen_at.unwrap_or(offset)) else { return };
        if other == offset {
            return;
        }
        let append = &self.appends[sent.append];
        if append.producer.is_none() && append.resends {
            out.note("tolerated duplicates of resending producers", 1);
        } else {
            let lines = [append.invoked.line, line];
            out.report(Anomaly::Duplicate, &self.name, &[other, offset], &lines, || {
                format!("value {} lies at {other} and at {offset}", value.0)
            });
        }
    }
}

/// All partitions, and which of their appends are open.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    by_name: HashMap<Partition, usize>,
    /// In order of appearance.
    pub all: Vec<Log>,
    // Line of the invocation to partition and append.
    open: HashMap<u64, (usize, usize)>,
}

impl Logs {
    /// The place of a partition in [`Self::all`]; it is made when it is new.
    pub(crate) fn place(&mut self, name: &Partition) -> usize {
        if let Some(place) = self.by_name.get(name) {
            return *place;
        }
        self.by_name.insert(name.clone(), self.all.len());
        self.all.push(Log::new(name.clone()));
        self.all.len() - 1
    }

    pub(crate) fn get_mut(&mut self, name: &Partition) -> &mut Log {
        let place = self.place(name);
        &mut self.all[place]
    }

    pub(crate) fn get(&self, name: &Partition) -> Option<&Log> {
        self.by_name.get(name).map(|place| &self.all[*place])
    }

    pub(crate) fn invoked(&mut self, open: &Open) {
        let Call::Append { partition, acks, producer, values, .. } = &open.call else { return };
        let place = self.place(partition);
        let log = &mut self.all[place];
        log.send(open, *acks, *producer, values);
        self.open.insert(open.invoked.line, (place, log.appends.len() - 1));
    }

    pub(crate) fn completed(&mut self, op: &Completed<'_>, out: &mut Findings) {
        let Some((place, append)) = self.open.remove(&op.open.invoked.line) else { return };
        let Call::Append { values, producer, .. } = &op.open.call else { return };
        let log = &mut self.all[place];
        let append = &mut log.appends[append];
        append.done = op.done;
        append.status = match op.answer {
            super::family::Answer::Ok(_) => Status::Ok,
            super::family::Answer::Fail(error) => {
                append.code = Some(error.code.clone());
                Status::Fail
            }
            super::family::Answer::Unclear => {
                append.done = Moment::NEVER;
                Status::Unclear
            }
        };
        let Some(Outcome::Appended { offset: Some(base) }) = op.answer.ok() else { return };
        append.offset = Some(*base);
        if append.acks != Acks::Quorum {
            return;
        }
        for (place, value) in values.iter().enumerate() {
            let stamp = producer.map(|stamp| stamp.after(place));
            let Some(offset) = base.checked_add(place as u64) else { return };
            let record = Record { value: *value, stamp, line: op.done.line, read: None };
            log.place(offset, record, out);
        }
    }

    /// Folds retries into their originals: a value happened if any attempt did.
    pub(crate) fn settle(&mut self) {
        for log in &mut self.all {
            for place in 0..log.appends.len() {
                let Some(original) = log.appends[place].retry_of else { continue };
                let (status, done) = (log.appends[place].status, log.appends[place].done);
                let offset = log.appends[place].offset;
                let original = &mut log.appends[original];
                match (original.status, status) {
                    (Status::Fail, Status::Unclear | Status::Ok)
                    | (Status::Unclear, Status::Ok) => {
                        original.status = status;
                        original.done = done;
                        original.offset = offset;
                    }
                    (Status::Ok, _) | (Status::Unclear, _) | (Status::Fail, Status::Fail) => {}
                }
            }
        }
    }
}
