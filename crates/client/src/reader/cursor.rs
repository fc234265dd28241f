//! Walks over the records of a chunk.

use std::sync::Arc;

use quipu_compression as compression;
use quipu_types::Offset;
use quipu_types::limits::DECOMPRESSED_BYTES_MAX;
use quipu_types::record::{self, RecordsIter, ValidatedBatch};

use super::output::Chunk;
use crate::error::Corrupt;
use crate::record::Record;
use crate::{Error, Result};

/// A chunk that is being read.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) chunk: Chunk,
    records: Option<RecordsIter>,
    /// The next offset that is expected.
    next: u64,
}

impl Cursor {
    pub(crate) fn new(chunk: Chunk) -> Self {
        Self { next: chunk.from, chunk, records: None }
    }

    fn read(&mut self) -> Result<Option<Record>> {
        loop {
            let Some(records) = &mut self.records else {
                let Some(batch) = self.chunk.batches.pop_front() else { return Ok(None) };
                self.records = self.open(&batch)?;
                continue;
            };
            match records.next() {
                None => self.records = None,
                Some(Err(error)) => return Err(self.damaged(&error.to_string())),
                Some(Ok((offset, _))) if offset.get() < self.chunk.from => {}
                Some(Ok((offset, _))) if self.chunk.end.is_some_and(|end| offset.get() >= end) => {
                    return Ok(None);
                }
                Some(Ok((offset, record))) => return Ok(Some(self.record(offset, record))),
            }
        }
    }

    /// The records of a batch; none for those the system wrote for itself.
    fn open(&self, batch: &ValidatedBatch) -> Result<Option<RecordsIter>> {
        if batch.header().is_control() {
            return Ok(None);
        }
        compression::records(batch, DECOMPRESSED_BYTES_MAX)
            .map(Some)
            .map_err(|error| self.damaged(&error.to_string()))
    }

    fn record(&mut self, offset: Offset, record: record::Record) -> Record {
        self.next = offset.get() + 1;
        Record {
            topic: self.chunk.topic.clone(),
            partition: self.chunk.id.index.get(),
            offset: offset.get(),
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::Corrupt(Arc::new(Corrupt {
            topic: self.chunk.topic.clone(),
            partition: self.chunk.id.index.get(),
            offset: self.next,
            address: self.chunk.address.to_string(),
            reason: reason.to_owned(),
        }))
    }
}

impl Iterator for Cursor {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
