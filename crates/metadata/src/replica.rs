//! The metadata group's state machine on one node: apply, publish, checkpoint, snapshot.

mod images;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{
    AppliedState, Payload, Reply, SnapshotReceiver, SnapshotSource, StateMachine, StateMachineError,
};
use quipu_kv::{Key, KeyPrefix, KvError, Store, WriteBatch};
use quipu_types::{EntryId, MetadataVersion};

use crate::command::{Answer, Command};
use crate::image::{Image, TopicRecord};
use crate::state_machine::{self, State};

pub use images::Images;
use snapshot::{Receiver, Source};
use stored::{InvalidRow, RootRow};

/// Why the metadata of a node cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaOpenError {
    /// The tables cannot be read.
    #[error("read metadata: {0}")]
    Kv(#[from] KvError),
    /// A row is damaged, or of a newer release.
    #[error("read metadata: {0}")]
    Row(#[from] InvalidRow),
}

/// The replicated metadata of one node. The group owns it; readers have its [`Images`].
#[derive(Debug)]
pub struct MetadataStateMachine {
    kv: Store,
    state: State,
    images: Images,
    /// As of the last durable checkpoint.
    durable: AppliedState,
    /// The image whose topics the tables have.
    stored: Image,
}

impl MetadataStateMachine {
    /// Reads the last checkpoint and publishes its image. Blocks.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn open(kv: Store) -> Result<(Self, Images), ReplicaOpenError> {
        Self::open_from(kv, State::default())
    }

    /// As [`Self::open`], with another state where nothing is stored yet.
    pub(crate) fn open_from(kv: Store, first: State) -> Result<(Self, Images), ReplicaOpenError> {
        let (durable, state) = match kv.get(&Key::Metadata)? {
            Some(bytes) => {
                let rows = kv.scan(KeyPrefix::MetadataTopics)?;
                RootRow::decode(&bytes)?.with_topics(rows.iter().map(|(_, bytes)| bytes))?
            }
            None => (AppliedState::default(), first),
        };
        let images = Images::new(state.image.clone());
        let stored = state.image.clone();
        let machine = Self { kv, state, images: images.clone(), durable, stored };
        Ok((machine, images))
    }

    /// Writes what differs from the tables, in one batch, and flushes it.
    fn store(&mut self, applied: AppliedState) -> Result<(), StateMachineError> {
        let mut batch = WriteBatch::new();
        let image = &self.state.image;
        for topic in image.topics.values() {
            let is_stored =
                self.stored.topic_by_id(&topic.id).is_some_and(|stored| Arc::ptr_eq(stored, topic));
            if !is_stored {
                batch.put(&Key::MetadataTopic(topic.id), stored::encode_topic(topic));
            }
        }
        let gone = |topic: &&Arc<TopicRecord>| image.topic_by_id(&topic.id).is_none();
        for topic in self.stored.topics.values().filter(gone) {
            batch.delete(&Key::MetadataTopic(topic.id));
        }
        batch.put(&Key::Metadata, RootRow::new(&applied, &self.state).encode());
        quipu_failpoint::hit("metadata.checkpoint.before");
        self.kv.write(batch).map_err(failed)?;
        quipu_failpoint::hit("metadata.checkpoint.rows-written");
        self.kv.flush().map_err(failed)?;
        quipu_failpoint::hit("metadata.checkpoint.after");
        self.stored = self.state.image.clone();
        self.durable = applied;
        Ok(())
    }
}

fn failed(error: KvError) -> StateMachineError {
    StateMachineError::new(error.to_string())
}

impl StateMachine for MetadataStateMachine {
    fn applied_state(&self) -> AppliedState {
        self.durable.clone()
    }

    fn apply(&mut self, id: EntryId, payload: Payload) -> Result<Reply, StateMachineError> {
        let command = match payload {
            Payload::Command(bytes) => Command::decode(&bytes)
                .map_err(|unknown| StateMachineError::new(unknown.to_string()))?,
            Payload::Blank | Payload::Membership(_) => return Ok(Reply::default()),
        };
        tracing::debug!(entry = %id, ?command, "apply");
        let version = MetadataVersion::new(id.index.get());
        quipu_failpoint::hit("metadata.apply.before");
        let result = state_machine::apply(&mut self.state, version, command);
        quipu_failpoint::hit("metadata.apply.after");
        let answer = Answer { version: self.state.image.version, result };
        Ok(Reply(answer.encode()))
    }

    fn end_of_round(&mut self) {
        self.images.publish(&self.state.image);
    }

    fn checkpoint(&mut self, applied: AppliedState) -> Result<(), StateMachineError> {
        self.store(applied)
    }

    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError> {
        Ok(Arc::new(Source::new(self.state.clone())))
    }

    fn receiver(
        &mut self,
        manifest: Bytes,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        Ok(Box::new(Receiver::new(&manifest)?))
    }

    fn install(
        &mut self,
        applied: AppliedState,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        let receiver = received.into_any().downcast::<Receiver>();
        let receiver = receiver.map_err(|_| StateMachineError::new("not a metadata snapshot"))?;
        quipu_failpoint::hit("metadata.install.before");
        self.state = receiver.into_state()?;
        self.store(applied)?;
        quipu_failpoint::hit("metadata.install.after");
        self.images.publish(&self.state.image);
        Ok(())
    }
}
