//! What one Raft entry carries: commands for the state machines of a shard.
//!
//! Byte table: `docs/formats/bundle.md`. Decoding copies nothing: a batch is a slice of the entry.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::record::{InvalidBatch, ValidatedBatch};
use quipu_types::{LeaderEpoch, MoveId, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId};

#[cfg(test)]
mod tests;

/// The only layout so far. Persisted; never reuse.
const VERSION: u8 = 1;
/// Bytes before the first command.
pub const BUNDLE_HEADER_BYTES: usize = 12;
/// Bytes of a command before its body.
pub const COMMAND_HEADER_BYTES: usize = 28;

/// What a command is. Persisted; never reuse.
mod tag {
    pub(super) const APPEND: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const TRIM: u8 = 4;
    pub(super) const RECEIVE: u8 = 5;
    pub(super) const IMPORT: u8 = 6;
    pub(super) const SEAL: u8 = 7;
    pub(super) const UNSEAL: u8 = 8;
    pub(super) const ADOPT: u8 = 9;
    pub(super) const GROUP: u8 = 16;
}

/// Bytes of an import before its batch.
const IMPORT_BYTES: usize = 16;
/// Bytes of an adoption before the state.
const ADOPT_BYTES: usize = 12;
/// In the header of a command that concerns no partition.
const NO_PARTITION: PartitionId =
    PartitionId::new(TopicId::from_bytes([0; 16]), PartitionIndex::new(0));

/// The commands of one Raft entry, in order.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The leader's wall clock when it proposed: the only time an apply may look at.
    pub proposed_at: TimestampMs,
    /// What to apply, in this order.
    pub commands: Vec<Command>,
}

/// One command of a bundle.
#[derive(Clone, Debug)]
pub enum Command {
    /// Append a batch to a partition.
    Append {
        /// Where to.
        partition: PartitionId,
        /// What; offsets are assigned at apply.
        batch: ValidatedBatch,
    },
    /// Take a stored batch of a partition that moves here, offsets and epoch as they are.
    Import {
        /// Where to.
        partition: PartitionId,
        /// The move that brings it.
        by: MoveId,
        /// The first offset that is still kept where it comes from.
        log_start: Offset,
        /// What.
        batch: ValidatedBatch,
    },
    /// Change what the shard hosts.
    Control(PartitionControl),
    /// Change a consumer group: a command of `quipu_coordinator`, opaque here.
    Group(Bytes),
}

/// A change of what a shard hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionControl {
    /// Host a partition from now on. Opening again only changes its configuration.
    Open {
        /// Which.
        partition: PartitionId,
        /// Added to the shard's term to make the leader epoch, so that the epoch stays monotone
        /// when a partition moves between shards.
        epoch_base: i32,
        /// What apply needs to know.
        config: PartitionConfig,
    },
    /// Stop hosting a partition and remove its data.
    Close {
        /// Which.
        partition: PartitionId,
        /// The life that is meant: the move that brought it, or none.
        arrived_by: Option<MoveId>,
    },
    /// Remove the prefix below an offset.
    Trim {
        /// Which.
        partition: PartitionId,
        /// The first offset to keep; at most the high watermark.
        to: Offset,
    },
    /// Host a partition that moves here, unseen until it is adopted. A sealed copy that an earlier
    /// move left behind makes way.
    Receive {
        /// Which.
        partition: PartitionId,
        /// The move that brings it.
        by: MoveId,
        /// Whether what has come so far goes first.
        is_anew: bool,
        /// What apply needs to know.
        config: PartitionConfig,
    },
    /// Take no more for a partition that moves away, and show it to nobody.
    Seal {
        /// Which.
        partition: PartitionId,
        /// The move that takes it.
        by: MoveId,
    },
    /// Go on with a partition whose move was called off.
    Unseal {
        /// Which.
        partition: PartitionId,
        /// The move that was to take it.
        by: MoveId,
    },
    /// Go on with a partition that has arrived.
    Adopt {
        /// Which.
        partition: PartitionId,
        /// The move that brought it.
        by: MoveId,
        /// The last leader epoch it had; those to come are higher.
        epoch_after: LeaderEpoch,
        /// Its state, as the seal gave it.
        state: Bytes,
    },
}

/// The part of a topic's configuration that apply needs. Zero means the node's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionConfig {
    /// A segment is sealed at this size. Unit: bytes.
    pub segment_bytes: u64,
    /// A segment is sealed at this age. Unit: milliseconds.
    pub segment_age_ms: u64,
}

/// Why bytes are not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// Written by a newer release.
    #[error("bundle version {found} is not supported")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// A reserved byte is set.
    #[error("bundle has reserved bytes set")]
    Reserved,
    /// The bytes end within a header or body.
    #[error("bundle ends early: {needed} bytes needed, {left} left")]
    Short {
        /// What the layout asks for.
        needed: usize,
        /// What there is.
        left: usize,
    },
    /// Bytes follow the last command.
    #[error("bundle has {extra} bytes after its last command")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A command nobody assigned.
    #[error("command tag {found} is not supported")]
    Tag {
        /// The tag byte.
        found: u8,
    },
    /// A command's body has the wrong length.
    #[error("body of command tag {tag} has {found} bytes")]
    Body {
        /// The tag byte.
        tag: u8,
        /// Bytes of the body.
        found: usize,
    },
    /// A batch is damaged.
    #[error("batch for partition {partition}: {source}")]
    Batch {
        /// Whose batch.
        partition: PartitionId,
        /// What is wrong with it.
        source: InvalidBatch,
    },
}

impl Command {
    /// The partition it concerns; nobody's for a consumer group.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        match self {
            Self::Append { partition, .. } | Self::Import { partition, .. } => *partition,
            Self::Control(control) => control.partition(),
            Self::Group(_) => NO_PARTITION,
        }
    }

    /// Bytes it takes in a bundle.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        COMMAND_HEADER_BYTES
            + match self {
                Self::Append { batch, .. } => batch.bytes().len(),
                Self::Import { batch, .. } => IMPORT_BYTES + batch.bytes().len(),
                Self::Control(control) => control.body_bytes(),
                Self::Group(command) => command.len(),
            }
    }

    fn encode(&self, into: &mut BytesMut) {
        match self {
            Self::Append { partition, batch } => {
                put_header(into, tag::APPEND, *partition, batch.bytes().len());
                into.extend_from_slice(batch.bytes());
            }
            Self::Import { partition, by, log_start, batch } => {
                put_header(into, tag::IMPORT, *partition, IMPORT_BYTES + batch.bytes().len());
                into.put_u64(by.get());
                into.put_u64(log_start.get());
                into.extend_from_slice(batch.bytes());
            }
            Self::Control(control) => control.encode(into),
            Self::Group(command) => {
                put_header(into, tag::GROUP, NO_PARTITION, command.len());
                into.extend_from_slice(command);
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, InvalidBundle> {
        need(bytes, COMMAND_HEADER_BYTES)?;
        let tag = bytes.get_u8();
        if bytes.get_u8() != 0 || bytes.get_u16() != 0 {
            return Err(InvalidBundle::Reserved);
        }
        let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
        let partition = get_partition(bytes);
        need(bytes, length)?;
        let mut body = bytes.split_to(length);
        match tag {
            tag::APPEND => ValidatedBatch::parse(body)
                .map(|batch| Self::Append { partition, batch })
                .map_err(|source| InvalidBundle::Batch { partition, source }),
            tag::IMPORT => {
                let found = body.len();
                if found < IMPORT_BYTES {
                    return Err(InvalidBundle::Body { tag, found });
                }
                let (by, log_start) = (MoveId::new(body.get_u64()), Offset::new(body.get_u64()));
                ValidatedBatch::parse(body)
                    .map(|batch| Self::Import { partition, by, log_start, batch })
                    .map_err(|source| InvalidBundle::Batch { partition, source })
            }
            tag::OPEN..=tag::TRIM | tag::RECEIVE | tag::SEAL..=tag::ADOPT => {
                PartitionControl::decode(tag, partition, body).map(Self::Control)
            }
            tag::GROUP => Ok(Self::Group(body)),
            found => Err(InvalidBundle::Tag { found }),
        }
    }
}

impl PartitionControl {
    /// The partition it concerns.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        match self {
            Self::Open { partition, .. }
            | Self::Close { partition, .. }
            | Self::Trim { partition, .. }
            | Self::Receive { partition, .. }
            | Self::Seal { partition, .. }
            | Self::Unseal { partition, .. }
            | Self::Adopt { partition, .. } => *partition,
        }
    }

    fn body_bytes(&self) -> usize {
        match self {
            Self::Open { .. } => 20,
            Self::Close { arrived_by: None, .. } => 0,
            Self::Close { .. } | Self::Trim { .. } | Self::Seal { .. } | Self::Unseal { .. } => 8,
            Self::Receive { .. } => 25,
            Self::Adopt { state, .. } => ADOPT_BYTES + state.len(),
        }
    }

    fn encode(&self, into: &mut BytesMut) {
        match self {
            Self::Open { partition, epoch_base, config } => {
                put_header(into, tag::OPEN, *partition, self.body_bytes());
                into.put_i32(*epoch_base);
                config.encode(into);
            }
            Self::Close { partition, arrived_by } => {
                put_header(into, tag::CLOSE, *partition, self.body_bytes());
                if let Some(by) = arrived_by {
                    into.put_u64(by.get());
                }
            }
            Self::Trim { partition, to } => {
                put_header(into, tag::TRIM, *partition, self.body_bytes());
                into.put_u64(to.get());
            }
            Self::Receive { partition, by, is_anew, config } => {
                put_header(into, tag::RECEIVE, *partition, self.body_bytes());
                into.put_u64(by.get());
                into.put_u8(u8::from(*is_anew));
                config.encode(into);
            }
            Self::Seal { partition, by } => {
                put_header(into, tag::SEAL, *partition, self.body_bytes());
                into.put_u64(by.get());
            }
            Self::Unseal { partition, by } => {
                put_header(into, tag::UNSEAL, *partition, self.body_bytes());
                into.put_u64(by.get());
            }
            Self::Adopt { partition, by, epoch_after, state } => {
                put_header(into, tag::ADOPT, *partition, self.body_bytes());
                into.put_u64(by.get());
                into.put_i32(epoch_after.get());
                into.extend_from_slice(state);
            }
        }
    }

    fn decode(tag: u8, partition: PartitionId, mut body: Bytes) -> Result<Self, InvalidBundle> {
        match (tag, body.len()) {
            (tag::OPEN, 20) => Ok(Self::Open {
                partition,
                epoch_base: body.get_i32(),
                config: PartitionConfig::decode(&mut body),
            }),
            (tag::CLOSE, 0) => Ok(Self::Close { partition, arrived_by: None }),
            (tag::CLOSE, 8) => {
                let arrived_by = Some(MoveId::new(body.get_u64()));
                Ok(Self::Close { partition, arrived_by })
            }
            (tag::TRIM, 8) => Ok(Self::Trim { partition, to: Offset::new(body.get_u64()) }),
            (tag::RECEIVE, 25) => Ok(Self::Receive {
                partition,
                by: MoveId::new(body.get_u64()),
                is_anew: body.get_u8() != 0,
                config: PartitionConfig::decode(&mut body),
            }),
            (tag::SEAL, 8) => Ok(Self::Seal { partition, by: MoveId::new(body.get_u64()) }),
            (tag::UNSEAL, 8) => Ok(Self::Unseal { partition, by: MoveId::new(body.get_u64()) }),
            (tag::ADOPT, ADOPT_BYTES..) => Ok(Self::Adopt {
                partition,
                by: MoveId::new(body.get_u64()),
                epoch_after: LeaderEpoch::new(body.get_i32()),
                state: body,
            }),
            (tag, found) => Err(InvalidBundle::Body { tag, found }),
        }
    }
}

impl PartitionConfig {
    pub(crate) fn encode(self, into: &mut BytesMut) {
        into.put_u64(self.segment_bytes);
        into.put_u64(self.segment_age_ms);
    }

    /// Reads what [`Self::encode`] wrote; 16 bytes must be there.
    pub(crate) fn decode(bytes: &mut impl Buf) -> Self {
        Self { segment_bytes: bytes.get_u64(), segment_age_ms: bytes.get_u64() }
    }
}

impl Bundle {
    /// A bundle of one command.
    #[must_use]
    pub fn single(proposed_at: TimestampMs, command: Command) -> Self {
        Self { proposed_at, commands: vec![command] }
    }

    /// The bytes of the Raft entry.
    ///
    /// # Panics
    /// With more than 65,535 commands, or a batch above 4 GiB: `limits.rs` forbids both.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body: usize = self.commands.iter().map(Command::encoded_bytes).sum();
        let mut bytes = BytesMut::with_capacity(BUNDLE_HEADER_BYTES + body);
        bytes.put_u8(VERSION);
        bytes.put_u8(0);
        bytes.put_u16(u16::try_from(self.commands.len()).expect("BUNDLE_COMMANDS_MAX fits"));
        bytes.put_i64(self.proposed_at.get());
        for command in &self.commands {
            command.encode(&mut bytes);
        }
        bytes.freeze()
    }

    /// Takes a Raft entry apart; batches stay slices of it and are checked, checksum included.
    ///
    /// # Errors
    /// [`InvalidBundle`] names the field.
    pub fn decode(mut bytes: Bytes) -> Result<Self, InvalidBundle> {
        need(&bytes, BUNDLE_HEADER_BYTES)?;
        match bytes.get_u8() {
            VERSION => {}
            found => return Err(InvalidBundle::Version { found }),
        }
        if bytes.get_u8() != 0 {
            return Err(InvalidBundle::Reserved);
        }
        let count = usize::from(bytes.get_u16());
        let proposed_at = TimestampMs::new(bytes.get_i64());
        // A count may lie; the bytes bound what is reserved.
        let mut commands = Vec::with_capacity(count.min(bytes.len() / COMMAND_HEADER_BYTES));
        for _ in 0..count {
            commands.push(Command::decode(&mut bytes)?);
        }
        match bytes.len() {
            0 => Ok(Self { proposed_at, commands }),
            extra => Err(InvalidBundle::Trailing { extra }),
        }
    }
}

fn need(bytes: &Bytes, needed: usize) -> Result<(), InvalidBundle> {
    let left = bytes.len();
    if left < needed { Err(InvalidBundle::Short { needed, left }) } else { Ok(()) }
}

fn put_header(into: &mut BytesMut, tag: u8, partition: PartitionId, body: usize) {
    into.put_u8(tag);
    into.put_u8(0);
    into.put_u16(0);
    into.put_u32(u32::try_from(body).expect("a batch is below 4 GiB"));
    put_partition(into, partition);
}

/// Topic id and index: 20 bytes, as everywhere in this crate's formats.
pub(crate) fn put_partition(into: &mut BytesMut, partition: PartitionId) {
    into.extend_from_slice(&partition.topic.to_bytes());
    into.put_u32(partition.index.get());
}

/// Reads what [`put_partition`] wrote; 20 bytes must be there.
pub(crate) fn get_partition(bytes: &mut impl Buf) -> PartitionId {
    let mut topic = [0; 16];
    bytes.copy_to_slice(&mut topic);
    PartitionId::new(TopicId::from_bytes(topic), PartitionIndex::new(bytes.get_u32()))
}
