use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use quipu_types::ErrorCode;

use super::*;

const FAR: Duration = Duration::from_secs(3_600);
const EPOCH: ProducerEpoch = ProducerEpoch::new(0);

fn queue() -> Queue<u32, u8> {
    let mut queue = Queue::new(5, true);
    queue.set_identity(ProducerId::new(7), EPOCH);
    queue
}

fn refusal() -> Error {
    Error::local(ErrorCode::RecordTooLarge, "too large".to_owned())
}

fn fenced() -> Error {
    Error::local(ErrorCode::ProducerFenced, "epoch 0 is over".to_owned())
}

fn gap() -> Error {
    Error::local(ErrorCode::OutOfOrderSequence, "expected 1, found 2".to_owned())
}

/// Sends what may be sent on route 0: (number, sequence).
fn send(queue: &mut Queue<u32, u8>) -> Vec<(u64, i32)> {
    std::iter::from_fn(|| {
        let sending = queue.take_next(0)?;
        Some((sending.number, sending.stamp.map_or(-1, |stamp| stamp.sequence.get())))
    })
    .collect()
}

#[test]
fn batches_leave_in_order_up_to_the_window() {
    let mut queue = queue();
    for batch in 0..7 {
        queue.push(batch, 10, FAR);
    }
    assert_eq!(send(&mut queue), [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]);
    assert!(queue.answer(1, 0, Verdict::Stored(())).is_some());
    assert_eq!(send(&mut queue), [], "the oldest is still open: the server remembers five");
    assert!(queue.answer(0, 0, Verdict::Stored(())).is_some());
    assert_eq!(send(&mut queue), [(5, 50), (6, 60)]);
}

#[test]
fn a_batch_that_failed_is_sent_again_once_those_behind_it_came_back() {
    let mut queue = queue();
    (0..3).for_each(|batch| queue.push(batch, 1, FAR));
    send(&mut queue);
    assert!(queue.answer::<()>(0, 0, Verdict::Again(Effect::None)).is_none());
    assert_eq!(send(&mut queue), []);
    assert!(queue.answer::<()>(1, 0, Verdict::Gap(gap())).is_none());
    assert!(queue.answer::<()>(2, 0, Verdict::Gap(gap())).is_none());
    assert_eq!(send(&mut queue), [(0, 0), (1, 1), (2, 2)], "the same sequences");
}

#[test]
fn a_refused_batch_makes_those_behind_it_take_a_new_id() {
    let mut queue = queue();
    (0..3).for_each(|batch| queue.push(batch, 1, FAR));
    send(&mut queue);
    let settled = queue.answer::<()>(0, 0, Verdict::Refused(refusal())).expect("settled");
    assert!(matches!(settled.outcome, Outcome::Refused(error) if error.effect() == Effect::None));
    queue.stream_lost(0, Effect::Unknown);
    assert!(queue.needs_identity(), "the two behind cannot have been stored");
    assert_eq!(send(&mut queue), []);
    queue.set_identity(ProducerId::new(8), EPOCH);
    assert_eq!(send(&mut queue), [(1, 0), (2, 1)]);
}

#[test]
fn a_batch_that_expires_in_flight_is_in_doubt_and_spends_the_id() {
    let mut queue = queue();
    queue.push(0, 1, Duration::from_secs(1));
    queue.push(1, 1, FAR);
    assert_eq!(send(&mut queue).len(), 2);
    let expired = queue.expire::<()>(Duration::from_secs(1));
    assert!(matches!(expired[0].outcome, Outcome::Expired(Effect::Unknown)));
    assert!(queue.answer::<()>(1, 0, Verdict::Again(Effect::None)).is_none());
    assert!(queue.needs_identity(), "the second is certainly not stored");
}

#[test]
fn a_batch_that_expires_unsent_spends_nothing() {
    let mut queue = queue();
    queue.push(0, 1, Duration::from_secs(1));
    let expired = queue.expire::<()>(Duration::from_secs(2));
    assert!(matches!(expired[0].outcome, Outcome::Expired(Effect::None)));
    queue.push(1, 1, FAR);
    assert_eq!(send(&mut queue), [(1, 0)]);
}

#[test]
fn a_batch_in_doubt_never_changes_its_id() {
    let mut queue = queue();
    queue.push(0, 1, Duration::from_secs(1));
    queue.push(1, 1, FAR);
    send(&mut queue);
    queue.stream_lost(0, Effect::Unknown);
    queue.expire::<()>(Duration::from_secs(1));
    assert!(!queue.needs_identity());
    assert_eq!(send(&mut queue), [(1, 1)], "its old sequence");
    let settled = queue.answer::<()>(1, 0, Verdict::Gap(gap())).expect("settled");
    assert!(
        matches!(settled.outcome, Outcome::Refused(error) if error.effect() == Effect::Unknown)
    );
}

#[test]
fn answers_of_a_stream_that_was_given_up_are_ignored() {
    let mut queue = queue();
    queue.push(0, 1, FAR);
    send(&mut queue);
    queue.stream_lost(0, Effect::Unknown);
    assert!(queue.answer(0, 0, Verdict::Stored(())).is_none());
    assert!(queue.take_next(1).is_some());
    assert!(queue.answer(0, 0, Verdict::Stored(())).is_none());
    assert!(queue.answer(0, 1, Verdict::Stored(())).is_some());
}

#[test]
fn nothing_is_sent_on_a_second_stream_while_the_first_has_batches() {
    let mut queue = queue();
    (0..2).for_each(|batch| queue.push(batch, 1, FAR));
    assert!(queue.take_next(0).is_some());
    assert!(queue.take_next(1).is_none());
    assert!(queue.take_next(0).is_some());
}

/// The server's side of one partition (KIP-98, last five batches).
#[derive(Default)]
struct Server {
    log: Vec<u32>,
    /// By producer id: its newest epoch, the last sequence of it.
    producers: BTreeMap<i64, (i16, i32)>,
}

impl Server {
    fn append(&mut self, batch: u32, stamp: Stamp) -> Verdict<()> {
        let sequence = stamp.sequence.get();
        let epoch = stamp.epoch.get();
        let known = self.producers.entry(stamp.id.get()).or_insert((epoch, -1));
        if epoch < known.0 {
            return Verdict::Refused(fenced());
        }
        let last = if epoch > known.0 { -1 } else { known.1 };
        if sequence <= last {
            return Verdict::Stored(());
        }
        if sequence != last + 1 {
            return Verdict::Gap(gap());
        }
        *known = (epoch, sequence);
        self.log.push(batch);
        Verdict::Stored(())
    }
}

/// A stream: what waits in it, either way. A stream that was given up may still reach the server.
#[derive(Default)]
struct Wire {
    requests: VecDeque<(u64, u32, Stamp)>,
    answers: VecDeque<(u64, Verdict<()>)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Send,
    /// The server takes a request of this wire; how it goes is in the second number.
    Serve(u8, u8),
    Deliver,
    LoseStream,
    Expire,
    Identify,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Push),
        6 => Just(Step::Send),
        6 => (0..3u8, 0..12u8).prop_map(|(wire, how)| Step::Serve(wire, how)),
        6 => Just(Step::Deliver),
        1 => Just(Step::LoseStream),
        1 => Just(Step::Expire),
        3 => Just(Step::Identify),
    ]
}

struct World {
    queue: Queue<u32, u8>,
    server: Server,
    wires: Vec<Wire>,
    now: Duration,
    pushed: u32,
    epoch: ProducerEpoch,
    stored: BTreeSet<u32>,
    without_effect: BTreeSet<u32>,
}

impl World {
    fn new() -> Self {
        Self {
            queue: Queue::new(5, true),
            server: Server::default(),
            wires: vec![Wire::default()],
            now: Duration::ZERO,
            pushed: 0,
            epoch: EPOCH,
            stored: BTreeSet::new(),
            without_effect: BTreeSet::new(),
        }
    }

    fn route(&self) -> u8 {
        u8::try_from(self.wires.len() - 1).expect("few streams")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Push if self.queue.has_room() => {
                self.queue.push(self.pushed, 1, self.now + Duration::from_secs(3));
                self.pushed += 1;
            }
            Step::Push => {}
            Step::Send => {
                let route = self.route();
                if let Some(sending) = self.queue.take_next(route) {
                    let stamp = sending.stamp.expect("idempotent");
                    let request = (sending.number, *sending.batch, stamp);
                    self.wires.last_mut().unwrap().requests.push_back(request);
                }
            }
            Step::Serve(back, how) => self.serve(back, how),
            Step::Deliver => {
                let route = self.route();
                let answer = self.wires.last_mut().unwrap().answers.pop_front();
                if let Some((number, verdict)) = answer {
                    let settled = self.queue.answer(number, route, verdict);
                    self.settled(settled);
                }
            }
            Step::LoseStream => {
                let route = self.route();
                self.queue.stream_lost(route, Effect::Unknown);
                self.wires.push(Wire::default());
            }
            Step::Expire => {
                self.now += Duration::from_secs(1);
                let expired = self.queue.expire(self.now);
                self.settled(expired);
            }
            Step::Identify => {
                if self.queue.needs_identity() {
                    self.queue.set_identity(ProducerId::new(7), self.epoch);
                    self.epoch = ProducerEpoch::new(self.epoch.get() + 1);
                }
            }
        }
    }

    fn serve(&mut self, back: u8, how: u8) {
        let Some(at) = (self.wires.len() - 1).checked_sub(usize::from(back)) else { return };
        let Some((number, batch, stamp)) = self.wires[at].requests.pop_front() else { return };
        let verdict = match how {
            0 => Verdict::Again(Effect::None),
            1 => Verdict::Again(Effect::Unknown),
            2 => {
                self.server.append(batch, stamp);
                Verdict::Again(Effect::Unknown)
            }
            3 => Verdict::Refused(refusal()),
            _ => self.server.append(batch, stamp),
        };
        self.wires[at].answers.push_back((number, verdict));
    }

    fn settled(&mut self, settled: impl IntoIterator<Item = Settled<u32, ()>>) {
        for settled in settled {
            let effect = match settled.outcome {
                Outcome::Stored(()) => {
                    assert!(self.stored.insert(settled.batch), "settled twice");
                    continue;
                }
                Outcome::Refused(error) => error.effect(),
                Outcome::Expired(effect) => effect,
            };
            if effect == Effect::None {
                self.without_effect.insert(settled.batch);
            }
        }
    }

    /// All is well from here on: what is left must be stored.
    fn finish(&mut self) {
        for _ in 0..200 {
            for back in 0..self.wires.len() {
                let back = u8::try_from(back).expect("few streams");
                self.take(Step::Serve(back, 11));
            }
            self.take(Step::Deliver);
            self.take(Step::Identify);
            self.take(Step::Send);
        }
        assert!(self.queue.is_empty(), "stuck: {:?}", self.queue);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_failures_reorders_repeats_or_loses(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.finish();
        let log = &world.server.log;
        let distinct: BTreeSet<u32> = log.iter().copied().collect();
        prop_assert_eq!(distinct.len(), log.len(), "stored twice: {:?}", log);
        prop_assert!(world.stored.is_subset(&distinct), "acknowledged, not stored");
        prop_assert!(world.without_effect.is_disjoint(&distinct), "said to have no effect");
        // Also what was given up and came late.
        prop_assert!(log.is_sorted(), "reordered: {:?}", log);
    }
}
