//! The bundler's decisions against a group that does what the test says.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use quipu_partition::AppendRefused;
use quipu_types::{Offset, PartitionId, Progress, ShardId};
use tokio::sync::{Notify, oneshot, watch};

use super::*;
use crate::bundle::PartitionControl;
use crate::control::ControlOutcome;
use crate::replication::OnFlushed;
use crate::test_batch::{batch, batch_of, partition};

type Reply = Result<(LogIndex, Bytes), Unproposed>;

/// One proposal, to be answered by the test.
struct Call {
    bundle: Bundle,
    on_flushed: Option<OnFlushed>,
    reply: oneshot::Sender<Reply>,
}

/// A group in the test's hand.
struct Hand {
    standing: watch::Sender<Standing<()>>,
    live: Mutex<Live>,
    flushed_by: Mutex<Option<usize>>,
    hosted: Mutex<BTreeSet<PartitionId>>,
    calls: Mutex<Vec<Call>>,
    called: Notify,
    /// Bytes of appends that it was told of, by bundle.
    felt: Mutex<Vec<usize>>,
}

impl Replication for Hand {
    type Witness = ();

    fn standing(&self) -> Standing<()> {
        *self.standing.borrow()
    }

    fn risen(&self) -> BoxFuture<'static, ()> {
        let mut standing = self.standing.subscribe();
        Box::pin(async move {
            let _ = standing.wait_for(|standing| *standing != Standing::Rising).await;
        })
    }

    fn live(&self) -> Live {
        *self.live.lock().unwrap()
    }

    fn progress(&self, partition: PartitionId) -> Option<Progress> {
        self.hosted.lock().unwrap().contains(&partition).then(Progress::default)
    }

    fn flushed_by(&self, _index: LogIndex) -> Option<usize> {
        *self.flushed_by.lock().unwrap()
    }

    fn felt(&self, bytes: usize, _took: Duration) {
        self.felt.lock().unwrap().push(bytes);
    }

    fn propose(
        &self,
        (): (),
        command: Bytes,
        on_flushed: Option<OnFlushed>,
    ) -> BoxFuture<'static, Applied> {
        let (reply, replied) = oneshot::channel();
        let bundle = Bundle::decode(command).unwrap();
        self.calls.lock().unwrap().push(Call { bundle, on_flushed, reply });
        self.called.notify_one();
        Box::pin(async move { replied.await.unwrap_or(Err(Unproposed::Lost)) })
    }
}

/// A bundler at work and what it works on.
struct Bench {
    hand: Arc<Hand>,
    queue: Arc<Queue<Waiting>>,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "the test joins the task by itself")]
    fn start() -> Self {
        let hand = Arc::new(Hand {
            standing: watch::Sender::new(Standing::Leader(())),
            live: Mutex::new(Live { live: 3, voters: 3 }),
            flushed_by: Mutex::new(Some(0)),
            hosted: Mutex::new((0..10).map(partition).collect()),
            calls: Mutex::new(Vec::new()),
            called: Notify::new(),
            felt: Mutex::default(),
        });
        let queue = Arc::new(Queue::new());
        let stop = Arc::new(Notify::new());
        let bundler = Bundler {
            queue: Arc::clone(&queue),
            replication: Arc::clone(&hand),
            clock: Clock::fixed(42),
            metrics: ShardMetrics::new(ShardId::new(1)),
        };
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move { bundler.run(stopped.notified()).await });
        Self { hand, queue, stop, task }
    }

    fn append(&self, to: u32, acks: Acks, min_insync: u8) -> Answered {
        self.append_batch(to, batch(1, 1), acks, min_insync)
    }

    fn append_batch(
        &self,
        to: u32,
        batch: quipu_types::record::ValidatedBatch,
        acks: Acks,
        min_insync: u8,
    ) -> Answered {
        let (answer, answered) = oneshot::channel();
        let begun = Duration::ZERO;
        let answer = Some(answer);
        let waiter = AppendWaiter { acks, min_insync, log_append_time: None, begun, answer };
        let command = Command::Append { partition: partition(to), batch };
        let waiter = Waiter { answer: Answer::Append(waiter), _permit: None };
        let bytes = command.encoded_bytes();
        self.queue
            .push(partition(to), bytes, Waiting { command, waiter }, usize::MAX)
            .expect("room");
        answered
    }

    /// The next proposal.
    async fn call(&self) -> Call {
        let wait = async {
            loop {
                if let Some(call) = self.next_call() {
                    return call;
                }
                self.hand.called.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("a proposal")
    }

    fn next_call(&self) -> Option<Call> {
        let mut calls = self.hand.calls.lock().unwrap();
        (!calls.is_empty()).then(|| calls.remove(0))
    }

    fn set_standing(&self, to: Standing<()>) {
        self.hand.standing.send_replace(to);
    }
}

type Answered = oneshot::Receiver<Result<Appended, AppendError>>;

async fn answer(answered: Answered) -> Result<Appended, AppendError> {
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("in time").expect("sent")
}

fn appended(base: u64) -> Outcome {
    Outcome::Appended(quipu_partition::Appended {
        base_offset: Offset::new(base),
        log_start: Offset::ZERO,
        high_watermark_after: Offset::new(base + 1),
        is_duplicate: false,
        max_timestamp: TimestampMs::new(5),
    })
}

fn applied(index: u64, outcomes: &[Outcome]) -> Reply {
    Ok((LogIndex::new(index), reply::encode(outcomes)))
}

#[tokio::test(start_paused = true)]
async fn a_lone_append_is_proposed_at_once_and_answered_with_its_offset() {
    let bench = Bench::start();
    let waiting = bench.append(1, Acks::Quorum, 2);
    let call = bench.call().await;
    assert_eq!(call.bundle.commands.len(), 1);
    assert_eq!(call.bundle.proposed_at, TimestampMs::new(42));
    call.on_flushed.expect("the flush is measured")();
    call.reply.send(applied(7, &[appended(30)])).unwrap();
    assert_eq!(answer(waiting).await.unwrap().base_offset, Some(Offset::new(30)));
    assert_eq!(bench.hand.felt.lock().unwrap().len(), 1, "transfers make way for appends");
}

#[tokio::test(start_paused = true)]
async fn the_next_bundle_fills_while_enough_are_on_their_way() {
    let bench = Bench::start();
    let mut calls = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..BUNDLES_IN_FLIGHT_MAX {
        waiting.push(bench.append(1, Acks::Quorum, 1));
        calls.push(bench.call().await);
    }
    for _ in 0..100 {
        waiting.push(bench.append(2, Acks::Quorum, 1));
    }
    tokio::task::yield_now().await;
    assert!(bench.hand.calls.lock().unwrap().is_empty(), "no more than the bound in flight");
    calls.remove(0).reply.send(applied(1, &[appended(0)])).unwrap();
    let filled = bench.call().await;
    assert_eq!(filled.bundle.commands.len(), 100, "all that waited share one entry");
    filled.reply.send(applied(9, &vec![appended(1); 100])).unwrap();
    for answered in waiting.drain(BUNDLES_IN_FLIGHT_MAX..) {
        answer(answered).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_keeps_its_size_and_each_command_its_own_outcome() {
    let bench = Bench::start();
    bench.set_standing(Standing::Rising);
    let large: Vec<Answered> = (0..5)
        .map(|n| bench.append_batch(1, batch_of((1, 0, n), 1, 1, 400 << 10), Acks::Quorum, 1))
        .collect();
    bench.set_standing(Standing::Leader(()));
    let refused = AppendRefused::UnknownProducer;
    let mut sizes = Vec::new();
    let mut index = 0;
    while sizes.iter().sum::<usize>() < 5 {
        let call = bench.call().await;
        assert!(call.bundle.encode().len() <= BUNDLE_BYTES_MAX);
        let count = call.bundle.commands.len();
        let outcomes: Vec<Outcome> = (0..count)
            .map(|n| match sizes.iter().sum::<usize>() + n {
                3 => Outcome::Refused(refused),
                4 => Outcome::UnknownPartition,
                n => appended(u64::try_from(n).unwrap()),
            })
            .collect();
        index += 1;
        call.reply.send(applied(index, &outcomes)).unwrap();
        sizes.push(count);
    }
    assert_eq!(sizes, [2, 2, 1]);
    let mut answers = Vec::new();
    for one in large {
        answers.push(answer(one).await.map(|appended| appended.base_offset.unwrap().get()));
    }
    let expected = [
        Ok(0),
        Ok(1),
        Ok(2),
        Err(AppendError::Refused(refused)),
        Err(AppendError::UnknownPartition),
    ];
    assert_eq!(answers, expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proposed_before_the_first_entry_of_the_own_term_is_applied() {
    let bench = Bench::start();
    bench.set_standing(Standing::Rising);
    let waiting = bench.append(1, Acks::Quorum, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.hand.calls.lock().unwrap().is_empty());
    bench.set_standing(Standing::Leader(()));
    bench.call().await.reply.send(applied(1, &[appended(0)])).unwrap();
    answer(waiting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_leadership_goes_has_no_effect_and_names_the_leader() {
    let bench = Bench::start();
    bench.set_standing(Standing::Rising);
    let waiting = bench.append(1, Acks::Quorum, 1);
    tokio::task::yield_now().await;
    let leader = Some(NodeId::new(2));
    bench.set_standing(Standing::Follower { leader });
    assert_eq!(answer(waiting).await, Err(AppendError::NotLeader { leader }));
}

#[tokio::test(start_paused = true)]
async fn what_was_proposed_when_leadership_goes_may_have_happened() {
    let bench = Bench::start();
    let waiting = bench.append(1, Acks::Quorum, 1);
    bench.call().await.reply.send(Err(Unproposed::Lost)).unwrap();
    assert_eq!(answer(waiting).await, Err(AppendError::LeadershipLost));
}

#[tokio::test(start_paused = true)]
async fn too_few_live_replicas_are_refused_before_the_append() {
    let bench = Bench::start();
    *bench.hand.live.lock().unwrap() = Live { live: 2, voters: 3 };
    let refused = bench.append(1, Acks::Quorum, 3);
    let expected = AppendError::NotEnoughReplicas { live: 2, required: 3 };
    assert_eq!(answer(refused).await, Err(expected));
    assert!(bench.hand.calls.lock().unwrap().is_empty());
    let taken = bench.append(1, Acks::Quorum, 2);
    bench.call().await.reply.send(applied(1, &[appended(0)])).unwrap();
    answer(taken).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_minority_without_a_leader_says_that_replicas_are_missing() {
    let bench = Bench::start();
    *bench.hand.live.lock().unwrap() = Live { live: 1, voters: 3 };
    bench.set_standing(Standing::Follower { leader: None });
    let expected = AppendError::NotEnoughReplicas { live: 1, required: 2 };
    assert_eq!(answer(bench.append(1, Acks::Quorum, 1)).await, Err(expected));
    let unsafe_append = answer(bench.append(1, Acks::Leader, 1)).await;
    assert_eq!(unsafe_append, Err(AppendError::NotLeader { leader: None }));
}

#[tokio::test(start_paused = true)]
async fn more_replicas_than_a_majority_are_waited_for_after_the_apply() {
    let bench = Bench::start();
    *bench.hand.flushed_by.lock().unwrap() = Some(2);
    let mut waiting = bench.append(1, Acks::Quorum, 3);
    bench.call().await.reply.send(applied(1, &[appended(0)])).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waiting.try_recv().is_err(), "two of three have it");
    *bench.hand.flushed_by.lock().unwrap() = Some(3);
    assert_eq!(answer(waiting).await.unwrap().base_offset, Some(Offset::ZERO));

    let waiting = bench.append(1, Acks::Quorum, 3);
    *bench.hand.flushed_by.lock().unwrap() = None;
    bench.call().await.reply.send(applied(2, &[appended(1)])).unwrap();
    assert_eq!(answer(waiting).await, Err(AppendError::LeadershipLost));
}

#[tokio::test(start_paused = true)]
async fn acks_leader_resolve_at_the_leaders_flush_or_at_the_apply_if_that_is_first() {
    let bench = Bench::start();
    let waiting = bench.append(1, Acks::Leader, 1);
    let mut call = bench.call().await;
    call.on_flushed.take().expect("somebody waits for the flush")();
    assert_eq!(answer(waiting).await.unwrap().base_offset, None, "provisional");
    call.reply.send(Err(Unproposed::Lost)).unwrap();

    let waiting = bench.append(1, Acks::Leader, 1);
    let call = bench.call().await;
    call.reply.send(applied(2, &[appended(8)])).unwrap();
    assert_eq!(answer(waiting).await.unwrap().base_offset, Some(Offset::new(8)));
    call.on_flushed.expect("the hook")();
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_not_open_yet_is_refused_alone() {
    let bench = Bench::start();
    bench.set_standing(Standing::Rising);
    let early = bench.append(99, Acks::Quorum, 1);
    let other = bench.append(1, Acks::Quorum, 1);
    bench.set_standing(Standing::Leader(()));
    let call = bench.call().await;
    assert_eq!(call.bundle.commands.len(), 1);
    call.reply.send(applied(1, &[appended(0)])).unwrap();
    assert_eq!(answer(early).await, Err(AppendError::PartitionNotReady));
    answer(other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn control_commands_share_the_queue_and_get_their_outcome() {
    let bench = Bench::start();
    let (sender, outcome) = oneshot::channel();
    let command =
        Command::Control(PartitionControl::Close { partition: partition(4), arrived_by: None });
    let waiter = Waiter { answer: Answer::Control(sender), _permit: None };
    bench.queue.push(partition(4), 28, Waiting { command, waiter }, usize::MAX).expect("room");
    bench.call().await.reply.send(applied(1, &[Outcome::Closed])).unwrap();
    assert_eq!(outcome.await.unwrap(), Ok(ControlOutcome::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_a_move_brings_is_no_append() {
    let bench = Bench::start();
    bench.set_standing(Standing::Rising);
    let import = || {
        let batch = batch_of((1, 0, 0), 1, 1, 100 << 10);
        let (by, log_start) = (quipu_types::MoveId::new(1), Offset::ZERO);
        Command::Import { partition: partition(4), by, log_start, batch }
    };
    let (sender, imported) = oneshot::channel();
    let waiter = Waiter { answer: Answer::Control(sender), _permit: None };
    let bytes = import().encoded_bytes();
    let waiting = Waiting { command: import(), waiter };
    bench.queue.push(partition(4), bytes, waiting, usize::MAX).expect("room");
    let appending = bench.append(1, Acks::Quorum, 1);
    bench.set_standing(Standing::Leader(()));
    let call = bench.call().await;
    let outcomes: Vec<Outcome> = call
        .bundle
        .commands
        .iter()
        .map(|it| match it {
            Command::Append { .. } => appended(0),
            Command::Import { .. } | Command::Control(_) | Command::Group(_) => {
                Outcome::Imported(Progress::default())
            }
        })
        .collect();
    call.reply.send(applied(1, &outcomes)).unwrap();
    answer(appending).await.unwrap();
    imported.await.unwrap().unwrap();
    let felt = bench.hand.felt.lock().unwrap().clone();
    assert!(felt.len() == 1 && felt[0] < 10 << 10, "{felt:?} of {bytes} brought");
}

#[tokio::test(start_paused = true)]
async fn stopping_refuses_what_waits_and_answers_what_is_on_its_way() {
    let bench = Bench::start();
    let on_its_way = bench.append(1, Acks::Quorum, 1);
    let call = bench.call().await;
    bench.set_standing(Standing::Rising);
    let waiting = bench.append(1, Acks::Quorum, 1);
    tokio::task::yield_now().await;
    bench.stop.notify_one();
    assert_eq!(answer(waiting).await, Err(AppendError::Stopping));
    call.reply.send(applied(1, &[appended(3)])).unwrap();
    assert_eq!(answer(on_its_way).await.unwrap().base_offset, Some(Offset::new(3)));
    bench.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_fit_counts_as_unknown() {
    let bench = Bench::start();
    let waiting = bench.append(1, Acks::Quorum, 1);
    bench.call().await.reply.send(applied(1, &[])).unwrap();
    assert_eq!(answer(waiting).await, Err(AppendError::LeadershipLost));
}
