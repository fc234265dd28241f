use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_runtime::{Clock, Deadline, Fatal, OnExit, TaskGroup};
use tokio::sync::{Semaphore, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::*;

const UNANSWERED: usize = 4;

/// A request settles when its gate opens; taking waits for `room`.
struct Gated {
    taken: Arc<Mutex<Vec<u32>>>,
    room: Arc<Semaphore>,
}

type GatedRequest = (u32, oneshot::Receiver<()>);

impl Pipeline for Gated {
    type Request = GatedRequest;
    type Answer = u32;
    const UNANSWERED_MAX: usize = UNANSWERED;

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn responded(&self, _took: Duration) {}

    fn take(&self, (id, gate): GatedRequest) -> BoxFuture<'static, Settling<u32>> {
        let (taken, room) = (Arc::clone(&self.taken), Arc::clone(&self.room));
        Box::pin(async move {
            room.acquire().await.expect("open").forget();
            taken.lock().expect("no panic").push(id);
            Settling::new(async move {
                gate.await.expect("the test opens every gate");
                id
            })
        })
    }
}

struct Bench {
    requests: mpsc::Sender<Result<GatedRequest, Status>>,
    answers: mpsc::Receiver<Result<u32, Status>>,
    taken: Arc<Mutex<Vec<u32>>>,
    room: Arc<Semaphore>,
    stopping: CancellationToken,
    clock: Clock,
    tasks: TaskGroup,
}

impl Bench {
    fn start() -> Self {
        let (requests, incoming) = mpsc::channel(100);
        let (outgoing, answers) = mpsc::channel(1);
        let (taken, room) = (Arc::default(), Arc::new(Semaphore::new(1_000)));
        let stopping = CancellationToken::new();
        let tasks = TaskGroup::root("test", Fatal::new().0);
        let gated = Gated { taken: Arc::clone(&taken), room: Arc::clone(&room) };
        let stream = ReceiverStream::new(incoming);
        tasks.spawn("stream", OnExit::Log, run(gated, stream, outgoing, stopping.clone()));
        Self { requests, answers, taken, room, stopping, clock: Clock::system(), tasks }
    }

    async fn request(&self, id: u32) -> oneshot::Sender<()> {
        let (gate, opened) = oneshot::channel();
        self.requests.send(Ok((id, opened))).await.expect("the stream runs");
        gate
    }

    async fn answer(&mut self) -> Option<u32> {
        let deadline = Deadline::after(&self.clock, Duration::from_secs(10));
        let answer = deadline.timeout(&self.clock, self.answers.recv()).await;
        answer.expect("an answer in time").map(|answer| answer.expect("no status"))
    }

    fn taken(&self) -> Vec<u32> {
        self.taken.lock().expect("no panic").clone()
    }

    /// Lets the stream do all it can.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_taken_in_order_and_answered_as_they_settle() {
    let mut bench = Bench::start();
    let first = bench.request(1).await;
    let second = bench.request(2).await;
    second.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(2));
    first.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(1));
    assert_eq!(bench.taken(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_room_holds_back_the_next_but_not_the_answers_before() {
    let mut bench = Bench::start();
    let first = bench.request(1).await;
    bench.rest().await;
    bench.room.forget_permits(1_000);
    let second = bench.request(2).await;
    let third = bench.request(3).await;
    bench.rest().await;
    assert_eq!(bench.taken(), [1]);
    first.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(1));
    bench.room.add_permits(2);
    second.send(()).expect("waiting");
    third.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(2));
    assert_eq!(bench.answer().await, Some(3));
    assert_eq!(bench.taken(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_read_no_further() {
    let mut bench = Bench::start();
    for id in 0..20 {
        bench.request(id).await.send(()).expect("waiting");
    }
    bench.rest().await;
    let held = bench.taken().len();
    assert!((UNANSWERED..=UNANSWERED + 1).contains(&held), "{held} taken");
    for id in 0..20 {
        assert_eq!(bench.answer().await, Some(id));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_request_is_answered_before_the_stream_ends() {
    let mut bench = Bench::start();
    let gate = bench.request(7).await;
    bench.requests = mpsc::channel(1).0;
    bench.rest().await;
    gate.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(7));
    assert_eq!(bench.answer().await, None);
}

#[tokio::test(start_paused = true)]
async fn stopping_reads_no_further_and_answers_what_is_under_way() {
    let mut bench = Bench::start();
    let gate = bench.request(1).await;
    bench.rest().await;
    bench.stopping.cancel();
    bench.rest().await;
    let late = bench.request(2).await;
    gate.send(()).expect("waiting");
    assert_eq!(bench.answer().await, Some(1));
    assert_eq!(bench.answer().await, None);
    assert!(late.send(()).is_err(), "never taken");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_when_the_client_is_gone() {
    let bench = Bench::start();
    let _gate = bench.request(1).await;
    bench.rest().await;
    drop(bench.answers);
    let deadline = Deadline::after(&bench.clock, Duration::from_secs(10));
    deadline.timeout(&bench.clock, bench.requests.closed()).await.expect("the task ended");
    assert!(bench.tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_request_ends_the_stream_with_its_status() {
    let mut bench = Bench::start();
    let status = Status::out_of_range("too large");
    bench.requests.send(Err(status)).await.expect("the stream runs");
    let answer = bench.answers.recv().await.expect("a status");
    assert_eq!(answer.expect_err("a status").message(), "too large");
    assert!(bench.answers.recv().await.is_none());
}
