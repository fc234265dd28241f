//! Producer ids: each partition goes on under the next epoch of its id, or under a new id.
//!
//! An epoch spent leaves batches behind whose fate is unknown: given up, and perhaps still on their
//! way. Under the next epoch of the same id the server refuses them (KIP-98: fenced) as soon as a
//! younger one is stored; under another id it could store them behind it.

use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ProducerEpoch, ProducerId};
use tokio::sync::mpsc;

use super::{Key, Sender};
use crate::call::{Call, Target};
use crate::client::{Shared, log_service};
use crate::tasks::spawn_detached;
use crate::{Error, backoff};

/// What InitProducer gave.
pub(super) type Told = Result<(ProducerId, ProducerEpoch), Error>;

/// The newest id and who waits for the next. All partitions share an id: sequences are counted
/// for each partition alone.
#[derive(Debug)]
pub(super) struct Identities {
    current: Option<(ProducerId, ProducerEpoch)>,
    is_asked: bool,
    failures: u32,
    waiting: Vec<Key>,
    sender: mpsc::Sender<Told>,
    receiver: mpsc::Receiver<Told>,
}

impl Identities {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self { current: None, is_asked: false, failures: 0, waiting: Vec::new(), sender, receiver }
    }

    pub(super) async fn told(&mut self) -> Option<Told> {
        self.receiver.recv().await
    }
}

impl Sender {
    /// Gives the partition an id it has not used; false when it has to wait for one.
    pub(super) fn identify(&mut self, key: Key, _now: Duration) -> bool {
        let Some(partition) = self.partitions.get_mut(&key) else { return false };
        if let Some((id, epoch)) = next(partition.spent, self.identities.current) {
            partition.spent = Some((id, epoch));
            partition.queue.set_identity(id, epoch);
            return true;
        }
        self.identities.waiting.push(key);
        if !self.identities.is_asked {
            self.identities.is_asked = true;
            let pause = match self.identities.failures {
                0 => Duration::ZERO,
                failures => backoff::pause(failures, Duration::ZERO),
            };
            let (client, sender) = (self.client.clone(), self.identities.sender.clone());
            spawn_detached(async move {
                tokio::time::sleep(pause).await;
                // A producer that ended needs no id.
                let _ = sender.send(ask(&client).await).await;
            });
        }
        false
    }

    pub(super) fn on_identity(&mut self, told: Told) {
        let identities = &mut self.identities;
        identities.is_asked = false;
        let waiting = std::mem::take(&mut identities.waiting);
        match told {
            Ok(identity) => {
                identities.current = Some(identity);
                identities.failures = 0;
            }
            Err(error) => {
                identities.failures += 1;
                for key in &waiting {
                    if let Some(partition) = self.partitions.get_mut(key) {
                        partition.last_error = Some(error.clone());
                    }
                }
            }
        }
        self.ready.extend(waiting);
    }
}

/// What a partition goes on under, after it spent an epoch; none when it needs another id.
pub(crate) fn next(
    spent: Option<(ProducerId, ProducerEpoch)>,
    newest: Option<(ProducerId, ProducerEpoch)>,
) -> Option<(ProducerId, ProducerEpoch)> {
    let Some((id, epoch)) = spent else { return newest };
    match epoch.get().checked_add(1) {
        Some(epoch) => Some((id, ProducerEpoch::new(epoch))),
        None => newest.filter(|(newer, _)| *newer != id),
    }
}

async fn ask(client: &Shared) -> Told {
    let call =
        Call { action: "get a producer id".to_owned(), target: Target::Any, is_repeatable: true };
    let (answer, from) = client
        .call(&call, v1::InitProducerRequest::default(), |channel, request| async move {
            log_service(channel).init_producer(request).await
        })
        .await?;
    let epoch = i16::try_from(answer.producer_epoch).ok();
    match epoch.filter(|epoch| *epoch >= 0 && answer.producer_id >= 0) {
        Some(epoch) => Ok((ProducerId::new(answer.producer_id), ProducerEpoch::new(epoch))),
        None => Err(Error::stream_ended("call", &from, "the producer id is negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_serves_until_its_epochs_are_used_up() {
        let at = |id, epoch| Some((ProducerId::new(id), ProducerEpoch::new(epoch)));
        assert_eq!(next(None, None), None);
        assert_eq!(next(None, at(7, 0)), at(7, 0));
        assert_eq!(next(at(7, 0), at(7, 0)), at(7, 1));
        assert_eq!(next(at(7, 3), at(9, 0)), at(7, 4), "late batches of the old id stay fenced");
        assert_eq!(next(at(7, i16::MAX), at(7, 0)), None, "a new one is asked for");
        assert_eq!(next(at(7, i16::MAX), at(9, 0)), at(9, 0));
    }
}
