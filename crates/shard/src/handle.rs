//! What callers hold: append, control, look up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{Consensus, Group, OpenGroupError};
use quipu_journal::GroupJournal;
use quipu_kv::Store;
use quipu_partition::{PartitionEnv, PartitionHandle};
use quipu_runtime::{Clock, Deadline, OnExit, TaskGroup};
use quipu_types::limits::{BATCH_BYTES_MAX, SHARD_QUEUE_BYTES_MAX};
use quipu_types::record::{TimestampType, ValidatedBatch};
use quipu_types::{Acks, LeaderEpoch, MoveId, Offset, PartitionId, ReplicaId, ShardId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::append::{AppendError, AppendFuture, AppendRequest, Appended};
use crate::bundle::{Command, PartitionControl};
use crate::bundler::{Answer, AppendWaiter, Bundler, Waiter, Waiting, count_f64, not_leader};
use crate::control::{ControlError, ControlOutcome, control_at};
use crate::groups::GroupTable;
use crate::metrics::ShardMetrics;
use crate::queue::{Full, Queue};
use crate::receipt::Receipt;
use crate::replication::{GroupReplication, Replication, Standing};
use crate::state_machine::{ShardStateMachine, StateMachineEnv, StateMachineOpenError};
use crate::table::{Debt, Hosted, PartitionTable};
use crate::tenure::Tenure;

/// A permit counts in units of this many bytes.
const PERMIT_UNIT: usize = 1 << 10;
/// What the queue takes at most from callers that hold no permit; callers that do stay below.
const QUEUE_BYTES_HARD_MAX: usize = 2 * SHARD_QUEUE_BYTES_MAX;

/// What a shard stands on.
#[derive(Clone)]
pub struct ShardEnv {
    /// The node's consensus.
    pub consensus: Arc<Consensus>,
    /// The shard's part of the node's journal.
    pub journal: GroupJournal,
    /// The node's tables.
    pub kv: Store,
    /// Where partitions live.
    pub partitions: PartitionEnv,
    /// Where snapshots are staged (`snapshots/` of the data directory).
    pub snapshot_dir: PathBuf,
    /// Time.
    pub clock: Clock,
    /// The node's tasks.
    pub tasks: TaskGroup,
}

/// Why a shard cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its tables or partitions cannot be read.
    #[error("open shard {shard}: {source}")]
    StateMachine {
        /// Which shard.
        shard: ShardId,
        /// What failed.
        source: StateMachineOpenError,
    },
    /// Its Raft group cannot be started.
    #[error("open shard {shard}: {source}")]
    Group {
        /// Which shard.
        shard: ShardId,
        /// What failed.
        source: OpenGroupError,
    },
    /// The node's disk cannot be made ready for it.
    #[error("make room for shard {shard}: {source}")]
    Residence {
        /// Which shard.
        shard: ShardId,
        /// What failed.
        source: crate::ResidenceError,
    },
}

/// A handle to one shard's replica on this node. Cheap to clone.
#[derive(Clone)]
pub struct Shard {
    inner: Arc<Inner>,
}

/// What a shard's state machine and its handle share.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) debt: Arc<Debt>,
    pub(crate) metrics: ShardMetrics,
}

struct Inner {
    shard: ShardId,
    group: Group,
    replication: Arc<GroupReplication>,
    table: Arc<PartitionTable>,
    groups: Arc<GroupTable>,
    queue: Arc<Queue<Waiting>>,
    room: Arc<Semaphore>,
    debt: Arc<Debt>,
    metrics: ShardMetrics,
    clock: Clock,
    tasks: TaskGroup,
}

/// Room in a shard's queue. Dropping it gives the room back.
#[derive(Debug)]
pub struct Permit {
    _room: OwnedSemaphorePermit,
}

impl Shard {
    /// Opens a replica: its partitions from the last checkpoint, its Raft group from the journal.
    ///
    /// # Errors
    /// [`OpenError`] names the part that cannot be read.
    pub async fn open(
        env: ShardEnv,
        shard: ShardId,
        replica: ReplicaId,
    ) -> Result<Self, OpenError> {
        let table = Arc::new(PartitionTable::default());
        let debt = Arc::new(Debt::default());
        let metrics = ShardMetrics::new(shard);
        let groups = Arc::new(GroupTable::default());
        let machine_env = StateMachineEnv {
            kv: env.kv,
            groups: Arc::clone(&groups),
            partitions: env.partitions,
            snapshot_dir: env.snapshot_dir,
            table: Arc::clone(&table),
            debt: Arc::clone(&debt),
            metrics: metrics.clone(),
        };
        let machine =
            tokio::task::spawn_blocking(move || ShardStateMachine::open(machine_env, shard))
                .await
                .expect("opening is not cancelled, and a panic in it is a panic here")
                .map_err(|source| OpenError::StateMachine { shard, source })?;
        let group = env
            .consensus
            .open_group(shard, replica, env.journal, Box::new(machine))
            .await
            .map_err(|source| OpenError::Group { shard, source })?;
        let state = SharedState { table, groups, debt, metrics };
        Ok(Self::around(group, env.consensus, state, env.clock, &env.tasks))
    }

    /// The handle around a group whose state machine shares this state.
    pub(crate) fn around(
        group: Group,
        consensus: Arc<Consensus>,
        state: SharedState,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Self {
        let shard = group.shard();
        let SharedState { table, groups, debt, metrics } = state;
        let replication = Arc::new(GroupReplication {
            shard,
            group: group.clone(),
            consensus,
            table: Arc::clone(&table),
        });
        let own = Self {
            inner: Arc::new(Inner {
                shard,
                group,
                replication,
                table,
                groups,
                queue: Arc::new(Queue::new()),
                room: Arc::new(Semaphore::new(SHARD_QUEUE_BYTES_MAX / PERMIT_UNIT)),
                debt,
                metrics,
                clock,
                tasks: tasks.child(&format!("shard-{shard}")),
            }),
        };
        own.spawn_bundler();
        own
    }

    fn spawn_bundler(&self) {
        let bundler = Bundler {
            queue: Arc::clone(&self.inner.queue),
            replication: Arc::clone(&self.inner.replication),
            clock: self.inner.clock.clone(),
            metrics: self.inner.metrics.clone(),
        };
        let token = self.inner.tasks.token();
        let run = async move { bundler.run(token.cancelled()).await };
        // The bundler ends by itself when its group was closed.
        self.inner.tasks.spawn_graceful("bundler", OnExit::Log, run);
    }

    /// Appends one batch; it is in the queue when this returns.
    ///
    /// - Order: batches of one partition are applied in call order.
    /// - Units: the request's deadline bounds the wait, not the append.
    /// - Dropping the future does not cancel the append.
    ///
    /// # Errors
    /// [`AppendError`], through the future: its `effect` says whether the batch may be stored.
    #[must_use = "the future carries the acknowledgement"]
    pub fn append(&self, request: AppendRequest) -> AppendFuture {
        self.append_admitted(request, None)
    }

    /// As [`Self::append`], with room taken before by [`Self::admit`]: the permit is given back
    /// when the append is answered, even if the future was dropped long before.
    #[must_use = "the future carries the acknowledgement"]
    pub fn append_admitted(&self, request: AppendRequest, permit: Option<Permit>) -> AppendFuture {
        match self.enqueue(request, permit) {
            Ok(future) => future,
            Err(error) => {
                self.inner.metrics.refused.increment(1);
                AppendFuture::ready(Err(error))
            }
        }
    }

    fn enqueue(
        &self,
        request: AppendRequest,
        permit: Option<Permit>,
    ) -> Result<AppendFuture, AppendError> {
        let AppendRequest { partition, batch, acks, min_insync, deadline, begun } = request;
        let bytes = batch.bytes().len();
        if bytes > BATCH_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
        let progress = self.inner.table.progress(partition);
        match self.inner.replication.standing() {
            Standing::Follower { leader } => {
                return Err(not_leader(&*self.inner.replication, leader, acks, min_insync));
            }
            Standing::Stopped => return Err(AppendError::Stopping),
            Standing::Leader(_) if progress.is_none() => {
                return Err(AppendError::PartitionNotReady);
            }
            Standing::Leader(_) | Standing::Rising => {}
        }
        let is_log_append = batch.header().timestamp_type() == TimestampType::LogAppend;
        let log_append_time = is_log_append.then_some(batch.header().max_timestamp);
        let (answer, answered) = oneshot::channel();
        let answer = (acks != Acks::None).then_some(answer);
        let waiter = AppendWaiter { acks, min_insync, log_append_time, begun, answer };
        self.push(Command::Append { partition, batch }, Answer::Append(waiter), permit).map_err(
            |full| match full {
                Full::Closed(_) => AppendError::Stopping,
                Full::Bytes(_) => AppendError::Overloaded,
            },
        )?;
        if acks == Acks::None {
            let log_start = progress.unwrap_or_default().log_start();
            let appended =
                Appended { base_offset: None, log_start, is_duplicate: false, log_append_time };
            return Ok(AppendFuture::ready(Ok(appended)));
        }
        Ok(AppendFuture::waiting(answered, deadline, self.inner.clock.clone()))
    }

    fn push(
        &self,
        command: Command,
        answer: Answer,
        permit: Option<Permit>,
    ) -> Result<(), Full<()>> {
        let (partition, bytes) = (command.partition(), command.encoded_bytes());
        let waiting = Waiting { command, waiter: Waiter { answer, _permit: permit } };
        self.inner.queue.push(partition, bytes, waiting, QUEUE_BYTES_HARD_MAX).map_err(|full| {
            match full {
                Full::Closed(_) => Full::Closed(()),
                Full::Bytes(_) => Full::Bytes(()),
            }
        })?;
        self.inner.metrics.queue_bytes.set(count_f64(self.inner.queue.bytes()));
        Ok(())
    }

    /// Waits for room for `bytes` in the queue: this is where pressure reaches the socket.
    ///
    /// Dropping the future takes no room.
    pub async fn admit(&self, bytes: usize) -> Permit {
        let units = bytes.min(SHARD_QUEUE_BYTES_MAX).div_ceil(PERMIT_UNIT);
        let units = u32::try_from(units).expect("SHARD_QUEUE_BYTES_MAX in KiB fits");
        let room = Arc::clone(&self.inner.room);
        Permit { _room: room.acquire_many_owned(units).await.expect("it is never closed") }
    }

    /// Whether [`Self::admit`] would return at once for a small batch.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inner.room.available_permits() > 0
    }

    /// Changes what the shard hosts. A replica that does not lead forwards the command.
    ///
    /// Every command may be repeated. Dropping the future does not cancel it.
    ///
    /// # Errors
    /// [`ControlError`]: its `effect` says whether the command may have been applied.
    pub async fn control(
        &self,
        command: PartitionControl,
        deadline: Deadline,
    ) -> Result<ControlOutcome, ControlError> {
        if let Standing::Follower { leader: Some(node) } = self.inner.replication.standing() {
            let place = (node, self.inner.shard);
            let consensus = &self.inner.replication.consensus;
            return control_at(consensus, place, command, &self.inner.clock, deadline).await;
        }
        self.control_as_leader(command, deadline).await
    }

    /// As [`Self::control`], but a replica that does not lead refuses: a command that was decided
    /// here takes no effect under another leader, later.
    ///
    /// # Errors
    /// [`ControlError`]: its `effect` says whether the command may have been applied.
    pub async fn control_as_leader(
        &self,
        command: PartitionControl,
        deadline: Deadline,
    ) -> Result<ControlOutcome, ControlError> {
        if let Standing::Follower { leader } = self.inner.replication.standing() {
            return Err(ControlError::NotLeader { leader });
        }
        let (answer, answered) = oneshot::channel();
        self.push_control(Command::Control(command), Answer::Control(answer))?;
        self.answered(answered, deadline).await
    }

    /// Applies a command to the shard's consumer groups; gives the answer of their state machine.
    ///
    /// - Order: commands take effect in call order.
    /// - Dropping the future does not cancel it.
    ///
    /// # Errors
    /// [`ControlError`]: its `effect` says whether the command may have been applied.
    pub async fn change_groups(
        &self,
        command: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, ControlError> {
        let (answer, answered) = oneshot::channel();
        match self.inner.replication.standing() {
            Standing::Follower { leader } => return Err(ControlError::NotLeader { leader }),
            Standing::Stopped => return Err(ControlError::Stopping),
            Standing::Leader(_) | Standing::Rising => {}
        }
        self.push_control(Command::Group(command), Answer::Group(answer))?;
        self.answered(answered, deadline).await
    }

    /// The shard's consumer groups.
    #[must_use]
    pub fn groups(&self) -> &Arc<GroupTable> {
        &self.inner.groups
    }

    fn push_control(&self, command: Command, answer: Answer) -> Result<(), ControlError> {
        self.push(command, answer, None).map_err(|full| match full {
            Full::Closed(()) => ControlError::Stopping,
            Full::Bytes(()) => ControlError::Overloaded,
        })
    }

    async fn answered<T>(
        &self,
        answered: oneshot::Receiver<Result<T, ControlError>>,
        deadline: Deadline,
    ) -> Result<T, ControlError> {
        match deadline.timeout(&self.inner.clock, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ControlError::LeadershipLost),
            Err(_) => Err(ControlError::Deadline),
        }
    }

    /// The shard's id.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.inner.shard
    }

    /// A reader's handle to an open partition.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<PartitionHandle> {
        self.inner.table.handle(partition)
    }

    /// Takes in a stored batch of a partition that moves here; only the leader does.
    ///
    /// - Order: batches of one partition are applied in call order.
    /// - Dropping the future does not cancel it.
    ///
    /// # Errors
    /// [`ControlError`]: its `effect` says whether the batch may have been taken in; it may be
    /// repeated.
    pub fn import(
        &self,
        (partition, by): (PartitionId, MoveId),
        log_start: Offset,
        batch: ValidatedBatch,
        deadline: Deadline,
    ) -> impl Future<Output = Result<ControlOutcome, ControlError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Import { partition, by, log_start, batch };
        let pushed = match self.inner.replication.standing() {
            Standing::Follower { leader } => Err(ControlError::NotLeader { leader }),
            Standing::Stopped => Err(ControlError::Stopping),
            Standing::Leader(_) | Standing::Rising => {
                self.push_control(command, Answer::Control(answer))
            }
        };
        let own = self.clone();
        async move {
            pushed?;
            own.answered(answered, deadline).await
        }
    }

    /// Every open partition, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.inner.table.partitions()
    }

    /// Every hosted partition, on the move or not, as this replica has applied it.
    #[must_use]
    pub fn hosted(&self) -> BTreeMap<PartitionId, Hosted> {
        self.inner.table.hosted()
    }

    /// How a hosted partition came here, and whether it stays.
    #[must_use]
    pub fn tenure(&self, partition: PartitionId) -> Option<Tenure> {
        self.inner.table.tenure(partition)
    }

    /// A hosted partition, on the move or not.
    #[must_use]
    pub fn hosted_partition(&self, partition: PartitionId) -> Option<Hosted> {
        self.inner.table.row(partition)
    }

    /// The Raft group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Whether this replica leads and has applied the first entry of its own term: only then does
    /// it take appends and answer for the latest offset.
    #[must_use]
    pub fn is_ready_leader(&self) -> bool {
        matches!(self.inner.replication.standing(), Standing::Leader(_))
    }

    /// The leader epoch of a partition in the current term; −1 when it is not hosted.
    #[must_use]
    pub fn leader_epoch(&self, partition: PartitionId) -> LeaderEpoch {
        let term = self.inner.group.status().borrow().term;
        self.inner.table.leader_epoch(partition, term).unwrap_or(LeaderEpoch::new(-1))
    }

    /// Bytes applied since the last checkpoint.
    #[must_use]
    pub fn debt_bytes(&self) -> u64 {
        self.inner.debt.bytes()
    }

    /// Whether anything was applied since the last checkpoint.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.inner.debt.is_dirty()
    }

    /// Stops taking appends and answers what is on its way; the caller closes the group after it.
    pub fn stop(&self) {
        self.inner.tasks.cancel();
    }

    /// How far a snapshot has come that this replica receives, if it receives one.
    #[must_use]
    pub fn receiving(&self) -> Option<Receipt> {
        self.inner.metrics.receipts.now()
    }

    pub(crate) fn metrics(&self) -> &ShardMetrics {
        &self.inner.metrics
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.inner.shard).finish_non_exhaustive()
    }
}
