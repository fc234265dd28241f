//! Committed positions: the checker and the search agree on thousands of short histories.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use quipu_jepsen::checker::{Anomaly, Checker};
use quipu_jepsen::history::{
    Call, Effect, Event, Failure, Line, Membership, Outcome, Partition, Start,
};
use quipu_jepsen::search::register::{Register, RegisterCall};
use quipu_jepsen::search::{Span, is_linearizable};
use quipu_runtime::Rng;

const HISTORIES: u64 = 20_000;
const GROUP: &str = "g";

fn partition() -> Partition {
    "t/0".parse().unwrap()
}

/// Calls that took effect one after another, then some reads are changed. With `unique` every
/// position is committed once.
fn draw(rng: &mut Rng, unique: bool) -> Vec<Span<RegisterCall>> {
    let mut times: Vec<[u64; 3]> = (0..2 + rng.below(7))
        .map(|_| {
            let mut three = [rng.next_u64() >> 1, rng.next_u64() >> 1, rng.next_u64() >> 1];
            three.sort_unstable();
            if rng.below(2) == 0 { [three[1] - 1, three[1], three[1] + 1] } else { three }
        })
        .collect();
    times.sort_unstable_by_key(|times| times[1]);
    let mut state = None;
    let mut spans = Vec::new();
    for ([invoked, _, done], count) in times.into_iter().zip(1..) {
        let (call, done) = if rng.below(2) == 0 {
            let value = if unique { count } else { 1 + rng.below(3) };
            let is_unclear = rng.below(4) == 0;
            if !is_unclear || rng.below(2) == 0 {
                state = Some(value);
            }
            (RegisterCall::Write(value), (!is_unclear).then_some(done))
        } else {
            let is_changed = rng.below(6) == 0;
            let value = if is_changed { Some(1 + rng.below(count)) } else { state };
            (RegisterCall::Read(value), Some(done))
        };
        spans.push(Span { invoked, done, call });
    }
    spans
}

fn lines(spans: &[Span<RegisterCall>]) -> Vec<Line> {
    let mut events: Vec<(u64, u64, Event)> = Vec::new();
    for (span, id) in spans.iter().zip(1..) {
        let by = Membership { group: GROUP.to_owned(), member: String::new(), epoch: 0 };
        let (call, outcome) = match span.call {
            RegisterCall::Write(value) => (
                Call::Commit { by, auto: false, offsets: vec![(partition(), value)] },
                Outcome::Committed { refused: Vec::new() },
            ),
            RegisterCall::Read(value) => (
                Call::FetchCommitted { group: GROUP.to_owned(), partitions: vec![partition()] },
                Outcome::Positions { offsets: vec![(partition(), value)] },
            ),
        };
        events.push((span.invoked, id, Event::Invoke { id, call }));
        events.push(match span.done {
            Some(done) => (done, id, Event::Ok { id, outcome }),
            None => {
                let error = Failure::new("TIMED_OUT", Effect::Maybe);
                (span.invoked + 1, id, Event::Info { id, error })
            }
        });
    }
    events.sort_by_key(|(at, _, _)| *at);
    let head = (0, 0, Event::Start(Start::named("short")));
    let all = std::iter::once(head).chain(events);
    all.map(|(at, process, event)| Line { at, process, node: None, event }).collect()
}

fn is_found(spans: &[Span<RegisterCall>]) -> bool {
    let mut checker = Checker::new();
    for (line, number) in lines(spans).into_iter().zip(1..) {
        checker.feed(number, line).unwrap();
    }
    let found = checker.finish().counts_by_anomaly;
    [Anomaly::CommitRegister, Anomaly::PhantomCommit].iter().any(|name| found.contains_key(name))
}

#[test]
fn with_every_position_committed_once_checker_and_search_agree() {
    let mut refused = 0;
    for seed in 0..HISTORIES {
        let spans = draw(&mut Rng::seeded(seed), true);
        let is_valid = is_linearizable(&Register, &spans);
        assert_eq!(is_found(&spans), !is_valid, "seed {seed}: {spans:#?}");
        refused += u64::from(!is_valid);
    }
    assert!(refused > HISTORIES / 20, "{refused}");
}

#[test]
fn with_positions_committed_again_the_checker_accuses_nobody_wrongly() {
    let (mut refused, mut found) = (0, 0);
    for seed in 0..HISTORIES {
        let spans = draw(&mut Rng::seeded(seed), false);
        let is_valid = is_linearizable(&Register, &spans);
        let is_found = is_found(&spans);
        assert!(!is_found || !is_valid, "seed {seed}: {spans:#?}");
        refused += u64::from(!is_valid);
        found += u64::from(is_found);
    }
    assert!(found * 10 > refused * 7, "{found} of {refused} are found");
}
