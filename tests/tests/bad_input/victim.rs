//! A partition that bad batches are thrown at.

use std::fmt::Display;

use anyhow::{Result, ensure};
use quipu_proto::v1;

use crate::bench::{Bench, Topic};
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::refusal::Reply;

/// The partition, and where it is to end.
pub(crate) struct Victim<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    /// The next offset, as far as accepted batches go.
    pub(crate) end: u64,
    /// The level asked for.
    pub(crate) acks: v1::Acks,
}

impl<'a> Victim<'a> {
    /// A topic of its own with one partition.
    pub(crate) async fn create(
        bench: &'a Bench,
        name: &str,
        config: &[(&str, &str)],
    ) -> Result<Self> {
        let topic = bench.topic(name, 1, config).await?;
        Ok(Self { bench, topic, partition: 0, end: 0, acks: v1::Acks::Quorum })
    }

    /// Sends bytes as a batch to the leader.
    pub(crate) async fn send(&self, records: Vec<u8>) -> Result<Reply<v1::ProduceResult>> {
        let batch = v1::ProduceBatch {
            topic_id: self.topic.id.clone(),
            partition: self.partition,
            records: records.into(),
        };
        let acks = i32::from(self.acks);
        let send = async |node| call::append(&node, acks, batch.clone()).await;
        self.bench.at_leader(&self.topic, self.partition, send).await
    }

    /// One case: the batch is refused and nothing moves, or accepted and `count` offsets are taken.
    pub(crate) async fn case(
        &mut self,
        catalogue: &mut Catalogue,
        name: impl Display,
        want: impl Into<Want>,
        records: Vec<u8>,
    ) -> Result<()> {
        let want = want.into();
        let reply = self.send(records).await?;
        catalogue.case(&name, want, &reply);
        let end = self.bench.end(&self.topic, self.partition).await?;
        let moved = match &reply {
            Ok(result) => self.is_dense(result, end),
            Err(_) if end == self.end => Ok(()),
            Err(_) => Err(anyhow::anyhow!("refused, yet the end moved from {} to {end}", self.end)),
        };
        self.end = end;
        catalogue.note(name, moved);
        Ok(())
    }

    fn is_dense(&self, result: &v1::ProduceResult, end: u64) -> Result<()> {
        if result.is_duplicate {
            ensure!(end == self.end, "a duplicate moved the end from {} to {end}", self.end);
            return Ok(());
        }
        let base = result.base_offset;
        ensure!(base == Some(self.end), "base offset {base:?}, the end was {}", self.end);
        ensure!(end > self.end, "accepted, yet the end stayed at {end}");
        Ok(())
    }

    /// After everything: the end is where the last case left it.
    pub(crate) async fn is_still(&self) -> Result<()> {
        let end = self.bench.end(&self.topic, self.partition).await?;
        ensure!(end == self.end, "{}: end {end}, not {}", self.topic.name, self.end);
        Ok(())
    }
}
