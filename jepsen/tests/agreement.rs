//! The checker and the search that tries every order agree on thousands of short histories.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use quipu_jepsen::checker::Checker;
use quipu_jepsen::history::{
    Acks, Batch, Call, Effect, Event, Failure, Line, Outcome, Partition, Polled, Start, Value,
};
use quipu_jepsen::search::append_log::{AppendLog, LogCall};
use quipu_jepsen::search::{Span, is_linearizable};
use quipu_runtime::Rng;

const HISTORIES: u64 = 20_000;

/// How an append is answered; other calls are always answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    Fail,
    Unclear,
}

/// One call of a short history: when, what, and how it was answered.
#[derive(Clone, Debug)]
struct Short {
    span: Span<LogCall>,
    answer: Answer,
}

fn draw(rng: &mut Rng, below: usize) -> usize {
    usize::try_from(rng.below(below as u64)).unwrap()
}

/// A valid history: every call takes effect at some moment between its two ends.
fn valid(rng: &mut Rng) -> Vec<Short> {
    let calls = 2 + draw(rng, 8);
    let mut ends: Vec<(u64, u64, u64)> = (0..calls)
        .map(|_| {
            let mut three = [rng.next_u64() >> 1, rng.next_u64() >> 1, rng.next_u64() >> 1];
            // Short calls overlap less: half of them begin just before they take effect.
            three.sort_unstable();
            if rng.below(2) == 0 { (three[1] - 1, three[1], three[1] + 1) } else { three.into() }
        })
        .collect();
    ends.sort_unstable_by_key(|(_, effect, _)| *effect);
    let mut log: Vec<u64> = Vec::new();
    let mut all = Vec::new();
    for (place, (invoked, _, done)) in ends.into_iter().enumerate() {
        let (call, answer) = effect(rng, place as u64 + 1, &mut log);
        let done = (answer == Answer::Ok).then_some(done);
        all.push(Short { span: Span { invoked, done, call }, answer });
    }
    all
}

fn effect(rng: &mut Rng, value: u64, log: &mut Vec<u64>) -> (LogCall, Answer) {
    match rng.below(6) {
        0..3 => match rng.below(5) {
            0 => (LogCall::Append(value, None), Answer::Fail),
            1 => {
                if rng.below(2) == 0 {
                    log.push(value);
                }
                (LogCall::Append(value, None), Answer::Unclear)
            }
            _ => {
                log.push(value);
                (LogCall::Append(value, Some(log.len() as u64 - 1)), Answer::Ok)
            }
        },
        3 => (LogCall::End(log.len() as u64), Answer::Ok),
        _ => {
            let from = draw(rng, log.len() + 1);
            let to = from + draw(rng, log.len() - from + 1);
            (LogCall::Read(from as u64, log[from..to].to_vec()), Answer::Ok)
        }
    }
}

/// Changes one answer; it may stay valid.
fn damage(rng: &mut Rng, all: &mut [Short]) {
    let place = draw(rng, all.len());
    let other = 1 + rng.below(10);
    let shift = |offset: u64, rng: &mut Rng| {
        if rng.below(2) == 0 { offset + 1 } else { offset.saturating_sub(1) }
    };
    match &mut all[place].span.call {
        LogCall::Append(_, Some(offset)) => *offset = shift(*offset, rng),
        LogCall::Append(..) => {}
        LogCall::End(end) => *end = shift(*end, rng),
        LogCall::Read(from, values) => match (rng.below(3), values.len()) {
            (0, _) => *from = shift(*from, rng),
            (1, 2..) => values.swap(0, 1),
            (_, 1..) => values[0] = other,
            _ => {}
        },
    }
}

/// The same history in lines; every call is a process of its own.
fn lines(all: &[Short]) -> Vec<Line> {
    let mut moments: Vec<(u64, usize, bool)> = Vec::new();
    for (place, short) in all.iter().enumerate() {
        moments.push((short.span.invoked, place, false));
        match (short.span.done, short.answer) {
            (Some(done), _) => moments.push((done, place, true)),
            (None, _) => moments.push((short.span.invoked + 1, place, true)),
        }
    }
    moments.sort_unstable();
    let start = Event::Start(Start::named("short"));
    let mut lines = vec![Line { at: 0, process: 0, node: None, event: start }];
    for (moment, place, is_end) in moments {
        let id = place as u64 + 1;
        let event = if is_end { answered(&all[place], id) } else { invoked(&all[place], id) };
        lines.push(Line { at: moment, process: id, node: None, event });
    }
    lines
}

fn partition() -> Partition {
    "t/0".parse().unwrap()
}

fn invoked(short: &Short, id: u64) -> Event {
    let partition = partition();
    let call = match &short.span.call {
        LogCall::Append(value, _) => Call::Append {
            partition,
            acks: Acks::Quorum,
            producer: None,
            resends: false,
            values: vec![Value(*value, 0)],
        },
        LogCall::End(_) => Call::ListOffsets { partition },
        LogCall::Read(from, _) => Call::Poll { by: None, reads: vec![(partition, *from)] },
    };
    Event::Invoke { id, call }
}

fn answered(short: &Short, id: u64) -> Event {
    let outcome = match (&short.span.call, short.answer) {
        (_, Answer::Fail) => {
            return Event::Fail { id, error: Failure::new("NOT_LEADER", Effect::None) };
        }
        (_, Answer::Unclear) => {
            return Event::Info { id, error: Failure::new("TIMED_OUT", Effect::Maybe) };
        }
        (LogCall::Append(_, offset), Answer::Ok) => Outcome::Appended { offset: *offset },
        (LogCall::End(end), Answer::Ok) => Outcome::Offsets { log_start: 0, high_watermark: *end },
        (LogCall::Read(from, values), Answer::Ok) => {
            let values = values.iter().map(|value| Value(*value, 0)).collect();
            let batches = vec![Batch { offset: *from, producer: None, values }];
            let polled =
                Polled { partition: partition(), log_start: None, high_watermark: None, batches };
            Outcome::Polled { partitions: vec![polled] }
        }
    };
    Event::Ok { id, outcome }
}

#[test]
fn checker_and_search_agree_on_short_histories_valid_and_damaged() {
    let mut verdicts = [0_u64; 2];
    for seed in 0..HISTORIES {
        let mut rng = Rng::seeded(seed);
        let mut all = valid(&mut rng);
        let is_damaged = seed % 4 != 0;
        if is_damaged {
            for _ in 0..=rng.below(2) {
                damage(&mut rng, &mut all);
            }
        }
        let happened = all.iter().filter(|short| short.answer != Answer::Fail);
        let spans: Vec<_> = happened.map(|short| short.span.clone()).collect();
        let by_search = is_linearizable(&AppendLog, &spans);
        assert!(by_search || is_damaged, "seed {seed}: a valid history is refused: {all:#?}");

        let mut checker = Checker::new();
        for (line, number) in lines(&all).into_iter().zip(1..) {
            checker.feed(number, line).unwrap();
        }
        let report = checker.finish();
        assert_eq!(
            report.findings.is_empty(),
            by_search,
            "seed {seed}: {all:#?}\n{:#?}",
            report.findings
        );
        verdicts[usize::from(by_search)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > HISTORIES / 5), "{verdicts:?}");
}
