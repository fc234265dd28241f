//! A state machine that remembers every command, for tests: its checkpoint is one file, its
//! snapshot the list.

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_consensus::{
    AppliedState, Payload, Reply, SnapshotCursor, SnapshotReceiver, SnapshotSource, StateMachine,
    StateMachineError,
};
use quipu_types::{EntryId, LogIndex, Term};

/// Commands in order of application, for the test to look at.
pub(crate) type Applied = Arc<Mutex<Vec<Bytes>>>;

pub(crate) struct Ledger {
    file: PathBuf,
    commands: Applied,
    durable: AppliedState,
}

impl Ledger {
    /// Opens the ledger at its checkpoint.
    pub(crate) fn open(file: PathBuf) -> (Self, Applied) {
        let (durable, commands) = match std::fs::read(&file) {
            Ok(bytes) => decode(&mut Bytes::from(bytes)),
            Err(_) => (AppliedState::default(), Vec::new()),
        };
        let commands = Arc::new(Mutex::new(commands));
        (Self { file, commands: Arc::clone(&commands), durable }, commands)
    }

    fn write(&mut self, state: AppliedState) -> Result<(), StateMachineError> {
        let bytes = encode(&state, &self.commands.lock().unwrap());
        let next = self.file.with_extension("next");
        std::fs::write(&next, bytes)
            .and_then(|()| std::fs::rename(&next, &self.file))
            .map_err(|error| StateMachineError::new(error.to_string()))?;
        self.durable = state;
        Ok(())
    }
}

fn encode(state: &AppliedState, commands: &[Bytes]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let applied = state.applied.unwrap_or_default();
    out.put_u8(u8::from(state.applied.is_some()));
    out.put_u64(applied.term.get());
    out.put_u64(applied.index.get());
    put(&mut out, &state.membership);
    commands.iter().for_each(|command| put(&mut out, command));
    out.to_vec()
}

fn put(out: &mut BytesMut, bytes: &Bytes) {
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
}

fn take(from: &mut Bytes) -> Bytes {
    let len = usize::try_from(from.get_u32()).unwrap();
    from.split_to(len)
}

fn decode(from: &mut Bytes) -> (AppliedState, Vec<Bytes>) {
    let is_some = from.get_u8() == 1;
    let id = EntryId::new(Term::new(from.get_u64()), LogIndex::new(from.get_u64()));
    let membership = take(from);
    let mut commands = Vec::new();
    while from.has_remaining() {
        commands.push(take(from));
    }
    (AppliedState { applied: is_some.then_some(id), membership }, commands)
}

impl StateMachine for Ledger {
    fn applied_state(&self) -> AppliedState {
        self.durable.clone()
    }

    /// Answers with the command's place in the list.
    fn apply(&mut self, _id: EntryId, payload: Payload) -> Result<Reply, StateMachineError> {
        let Payload::Command(command) = payload else { return Ok(Reply::default()) };
        if command.as_ref() == b"panic" {
            panic!("asked to");
        }
        let mut commands = self.commands.lock().unwrap();
        commands.push(command);
        Ok(Reply(Bytes::copy_from_slice(&commands.len().to_be_bytes())))
    }

    fn end_of_round(&mut self) {}

    fn checkpoint(&mut self, state: AppliedState) -> Result<(), StateMachineError> {
        self.write(state)
    }

    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError> {
        Ok(Arc::new(Source(self.commands.lock().unwrap().clone())))
    }

    fn receiver(
        &mut self,
        mut manifest: Bytes,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        let count = manifest.get_u64();
        assert_eq!(manifest.len(), MANIFEST_PADDING, "it came whole");
        let here = self.commands.lock().unwrap().clone();
        Ok(Box::new(Receiver { count, commands: here }))
    }

    fn install(
        &mut self,
        state: AppliedState,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        let received = received.into_any().downcast::<Receiver>().expect("made by receiver()");
        *self.commands.lock().unwrap() = received.commands;
        self.write(state)
    }
}

/// More than one message holds.
const MANIFEST_PADDING: usize = quipu_types::limits::GRPC_MESSAGE_BYTES_MAX + 1;

/// The manifest of a list of so many commands.
pub(crate) fn manifest(commands: usize) -> Bytes {
    let mut manifest = BytesMut::new();
    manifest.put_u64(u64::try_from(commands).unwrap());
    manifest.put_bytes(0, MANIFEST_PADDING);
    manifest.freeze()
}

struct Source(Vec<Bytes>);

impl SnapshotSource for Source {
    fn manifest(&self) -> Bytes {
        manifest(self.0.len())
    }

    fn chunk(
        &self,
        have: &Bytes,
        cursor: &mut SnapshotCursor,
    ) -> Result<Option<Bytes>, StateMachineError> {
        let at = have.clone().get_u64() + cursor.0;
        cursor.0 += 1;
        Ok(self.0.get(usize::try_from(at).unwrap()).cloned())
    }
}

struct Receiver {
    count: u64,
    commands: Vec<Bytes>,
}

impl SnapshotReceiver for Receiver {
    fn have(&self) -> Bytes {
        Bytes::copy_from_slice(&u64::try_from(self.commands.len()).unwrap().to_be_bytes())
    }

    fn write(&mut self, chunk: Bytes) -> Result<(), StateMachineError> {
        self.commands.push(chunk);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StateMachineError> {
        if u64::try_from(self.commands.len()).unwrap() == self.count {
            return Ok(());
        }
        Err(StateMachineError::new("chunks are missing"))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
