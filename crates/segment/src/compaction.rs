//! Compaction by key: of each key the newest record stays, in its place.
//!
//! - What goes leaves a gap (`quipu_types::record`): offsets, order and the bounds of batches stay
//!   what they were, so nothing that counts offsets need know.
//! - Each replica does it by itself, when it gets to it. Replicas may differ in which superseded
//!   records they still hold, never in the newest record of a key: [`SegmentReader::key_checksum`]
//!   compares just that. A tombstone goes only when every older record of its key is gone here, so
//!   that none comes back to life, whatever the others do.
//! - Only segments that were sealed as of a durable checkpoint are rewritten: what a restart cuts
//!   or appends again is never touched.
//! - Compressed batches are decompressed, one at a time, and compressed again with their codec. One
//!   that nobody can look into (from before its topic was compacted) stays whole: its records
//!   replace none, and no tombstone behind it goes, for it may hold what that speaks of.
//!
//! A round takes the oldest segments that were not compacted yet, as many as have room in memory,
//! remembers where each of their keys comes last, and rewrites every segment up to there. Which
//! segments are done lies in a file beside each ([`Cleaned`]); one that is lost costs a round.

mod cleaned;
mod keys;
mod rewrite;

use std::sync::Arc;

use quipu_types::record::{Record, ValidatedBatch};
use quipu_types::{Offset, TimestampMs};

use crate::contents;
use crate::error::{Corruption, ReadError};
use crate::metrics;
use crate::reader::SegmentReader;
use crate::scan;
use crate::sealed::Sealed;
use crate::window::{READ_ON_BYTES, Window};
use cleaned::{Cleaned, Left};
use keys::{KeyHasher, LastOffsets};

/// What may go, and when.
#[derive(Clone, Copy, Debug)]
pub struct CompactionRule {
    /// Only records below: the high watermark.
    pub until: Offset,
    /// Time.
    pub now: TimestampMs,
    /// Segments whose youngest record is younger stay as they are. Unit: milliseconds.
    pub lag_min_ms: u64,
    /// A segment whose youngest record is this old is compacted however little there is to gain.
    /// Unit: milliseconds.
    pub lag_max_ms: u64,
    /// Tombstones stay at least this long after their segment was first compacted. Unit:
    /// milliseconds.
    pub tombstone_ms: u64,
    /// Keys in memory at once, 48 bytes each.
    pub keys_max: usize,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Segments replaced.
    pub segments: u64,
    /// Records that are gone.
    pub records: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// A segment that may be compacted.
struct Candidate {
    sealed: Arc<Sealed>,
    cleaned: Option<Cleaned>,
}

impl Candidate {
    fn is_old(&self, age_ms: u64, now: TimestampMs) -> bool {
        let youngest = self.sealed.max_timestamp.map_or(i64::MAX, TimestampMs::get);
        has_passed(TimestampMs::new(youngest), age_ms, now)
    }

    /// Whether its tombstones have been there for long enough.
    fn may_drop_tombstones(&self, rule: &CompactionRule) -> bool {
        self.cleaned.is_some_and(|cleaned| has_passed(cleaned.at, rule.tombstone_ms, rule.now))
    }

    fn records(&self) -> u64 {
        self.sealed.next.get() - self.sealed.base.get()
    }
}

fn has_passed(since: TimestampMs, ms: u64, now: TimestampMs) -> bool {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    since.get().saturating_add(ms) <= now.get()
}

impl SegmentReader {
    /// Does one round of compaction, should one be due. Blocks on the disk; one at a time.
    ///
    /// A crash at any point leaves each segment as it was or as it is to be.
    ///
    /// # Errors
    /// [`ReadError`]: damage is left for readers to be told, a failed write leaves the segment as
    /// it was.
    pub fn compact(&self, rule: &CompactionRule) -> Result<CompactionReport, ReadError> {
        let candidates = self.candidates(rule)?;
        let mut report = CompactionReport::default();
        let dirty = candidates.iter().position(|it| it.cleaned.is_none());
        match dirty.filter(|dirty| is_worth_it(&candidates, *dirty, rule)) {
            Some(dirty) => self.round(&candidates, dirty, rule, &mut report)?,
            None => self.drop_tombstones(&candidates, rule, &mut report)?,
        }
        Ok(report)
    }

    /// The segments that may be compacted now, oldest first.
    fn candidates(&self, rule: &CompactionRule) -> Result<Vec<Candidate>, ReadError> {
        let (view, settled) = (self.view(), self.settled());
        let mut candidates = Vec::new();
        for sealed in &view.sealed {
            let candidate = Candidate { cleaned: Cleaned::read(sealed)?, sealed: sealed.clone() };
            let is_settled = sealed.next <= settled.min(rule.until);
            if !is_settled || !candidate.is_old(rule.lag_min_ms, rule.now) {
                break;
            }
            candidates.push(candidate);
        }
        Ok(candidates)
    }

    /// Compacts all segments up to the end of those that fit into memory, from `dirty` on.
    fn round(
        &self,
        candidates: &[Candidate],
        dirty: usize,
        rule: &CompactionRule,
        report: &mut CompactionReport,
    ) -> Result<(), ReadError> {
        let keys_max = u64::try_from(rule.keys_max.max(1)).unwrap_or(u64::MAX);
        let mut records = candidates[dirty].records();
        let mut end = dirty + 1;
        while let Some(next) = candidates.get(end)
            && records + next.records() <= keys_max
        {
            records += next.records();
            end += 1;
        }
        // One segment alone may have more keys than there is room for: then a part at a time.
        let passes = records.div_ceil(keys_max);
        let hasher = KeyHasher::default();
        let opaque = opaque_from(candidates);
        let mut kept = vec![Left::default(); end - dirty];
        for pass in 0..passes {
            let mut last = LastOffsets::new(&hasher, pass, passes);
            for candidate in &candidates[dirty..end] {
                each_batch(&candidate.sealed, |batch| {
                    each_record(batch, &candidate.sealed, |offset, record| {
                        if let Some(key) = &record.key {
                            last.note(key, offset);
                        }
                    })
                    .map(drop)
                })?;
            }
            for (at, candidate) in candidates[..end].iter().enumerate() {
                let is_behind = at >= dirty.min(opaque);
                let drops = !is_behind && candidate.may_drop_tombstones(rule);
                let left = self.thin(&candidate.sealed, report, |offset, record| {
                    let Some(key) = &record.key else { return true };
                    let is_newest = last.of(key).is_none_or(|newest| newest <= offset);
                    is_newest && !(drops && record.value.is_none())
                })?;
                match at.checked_sub(dirty) {
                    Some(place) => kept[place] = left,
                    None => {
                        let at = candidate.cleaned.expect("not dirty").at;
                        Cleaned { at, left }.write(&candidate.sealed)?;
                    }
                }
            }
        }
        for (candidate, left) in candidates[dirty..end].iter().zip(kept) {
            metrics::count_opaque(left.opaque);
            Cleaned { at: rule.now, left }.write(&candidate.sealed)?;
        }
        Ok(())
    }

    /// Removes tombstones that stayed long enough. What they were for is gone since the round that
    /// noted when they were first seen.
    fn drop_tombstones(
        &self,
        candidates: &[Candidate],
        rule: &CompactionRule,
        report: &mut CompactionReport,
    ) -> Result<(), ReadError> {
        for candidate in &candidates[..opaque_from(candidates)] {
            let Some(cleaned) = candidate.cleaned else { break };
            if cleaned.left.tombstones > 0 && candidate.may_drop_tombstones(rule) {
                let is_kept = |_, record: &Record| record.key.is_none() || record.value.is_some();
                let left = self.thin(&candidate.sealed, report, is_kept)?;
                Cleaned { left, ..cleaned }.write(&candidate.sealed)?;
            }
        }
        Ok(())
    }

    /// CRC32C over the newest record of each key in `[from, until)`, tombstones left out, in order
    /// of offset: equal on replicas with equal bounds, however far each has compacted.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn key_checksum(
        &self,
        from: Offset,
        until: Offset,
        keys_max: usize,
    ) -> Result<u32, ReadError> {
        keys::checksum(self, (from, until), keys_max)
    }
}

/// Whether a round gains enough: half of what there is was not compacted yet, or some of it has
/// waited as long as it may.
fn is_worth_it(candidates: &[Candidate], dirty: usize, rule: &CompactionRule) -> bool {
    let bytes = |of: &[Candidate]| of.iter().map(|it| it.sealed.bytes).sum::<u64>();
    let is_late = candidates[dirty..].iter().any(|it| it.is_old(rule.lag_max_ms, rule.now));
    is_late || bytes(&candidates[dirty..]) * 2 >= bytes(candidates)
}

/// Walks over the batches of a sealed segment, each checked.
pub(crate) fn each_batch(
    sealed: &Sealed,
    mut take: impl FnMut(&ValidatedBatch) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let (open, index) = sealed.open()?;
    let path = sealed.file.path();
    let mut window = Window::new(&*open.file, path, sealed.bytes, READ_ON_BYTES);
    let (mut position, mut offset) = (0, sealed.base);
    while position < sealed.bytes {
        let found = scan::find(&mut window, position, offset)?;
        let bytes = scan::verified(&mut window, &found, &index)?;
        let batch = ValidatedBatch::parse(bytes)
            .map_err(|_| Corruption::new(path, position, "batch layout", (1, 0)))?;
        take(&batch)?;
        (position, offset) = (found.end(), found.next);
    }
    Ok(())
}

/// The first segment with a batch that nobody can look into; behind the last when there is none.
fn opaque_from(candidates: &[Candidate]) -> usize {
    let is_opaque = |it: &Candidate| it.cleaned.is_some_and(|cleaned| cleaned.left.opaque > 0);
    candidates.iter().position(is_opaque).unwrap_or(candidates.len())
}

/// Walks over the records of a batch. False: nobody can look at them, and they are left alone.
fn each_record(
    batch: &ValidatedBatch,
    sealed: &Sealed,
    mut take: impl FnMut(Offset, &Record),
) -> Result<bool, ReadError> {
    let Some(section) = contents::plain(batch) else { return Ok(false) };
    for record in batch.records_of(section) {
        let damage = |_| Corruption::new(sealed.file.path(), sealed.base.get(), "records", (1, 0));
        let (offset, record) = record.map_err(damage)?;
        take(offset, &record);
    }
    Ok(true)
}
