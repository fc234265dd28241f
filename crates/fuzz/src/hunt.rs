//! Long runs: inputs out of inputs, until the time is up or a promise is broken.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quipu_runtime::Clock;

use crate::{Mutator, Target, Verdict, caught};

/// Inputs that a worker mutates: the corpus, and what was accepted since.
const POPULATION_MAX: usize = 200;
/// An input that takes longer breaks a promise, too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);

/// What to run, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The target.
    pub target: &'static Target,
    /// Until when.
    pub time: Duration,
    /// What the inputs follow from, with one job; more jobs have seeds of their own.
    pub seed: u64,
    /// Threads.
    pub jobs: u64,
}

/// An input that breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said, and where.
    pub words: String,
}

/// What is seen of a hunt while it goes on.
#[derive(Debug, Default)]
pub struct Watch {
    /// Inputs tried.
    pub tried: AtomicU64,
    /// Inputs accepted.
    pub accepted: AtomicU64,
    is_over: AtomicBool,
    found: Mutex<Option<Finding>>,
}

/// Hunts; `each` is called now and then with the time that has passed.
#[must_use]
pub fn hunt(
    hunt: Hunt,
    corpus: &[Vec<u8>],
    watch: &Watch,
    each: &(dyn Fn(Duration) + Sync),
) -> Option<Finding> {
    std::thread::scope(|scope| {
        for job in 0..hunt.jobs {
            scope.spawn(move || work(hunt, job, corpus, watch, each));
        }
    });
    watch.found.lock().expect("no panic under this lock").take()
}

fn work(hunt: Hunt, job: u64, corpus: &[Vec<u8>], watch: &Watch, each: &(dyn Fn(Duration) + Sync)) {
    let begun = Clock::thread_instant();
    let mut mutator = Mutator::seeded(hunt.seed.wrapping_add(job << 32));
    let mut inputs = corpus.to_vec();
    while !watch.is_over.load(Ordering::Relaxed) && begun.elapsed() < hunt.time {
        let Some(input) = mutator.next(&inputs) else { return };
        let started = begun.elapsed();
        let outcome = caught(|| (hunt.target.run)(&input));
        let took = begun.elapsed().saturating_sub(started);
        watch.tried.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(_) if took > INPUT_TIME_MAX => {
                return watch.tell(Finding { input, words: format!("it took {took:?}") });
            }
            Ok(Verdict::Accepted) => {
                watch.accepted.fetch_add(1, Ordering::Relaxed);
                keep(&mut mutator, &mut inputs, corpus.len(), input);
            }
            Ok(Verdict::Refused) => {}
            Err(words) => return watch.tell(Finding { input, words }),
        }
        each(begun.elapsed());
    }
}

/// Goes on from what was accepted; the corpus stays.
fn keep(mutator: &mut Mutator, inputs: &mut Vec<Vec<u8>>, fixed: usize, input: Vec<u8>) {
    if inputs.len() < POPULATION_MAX.max(fixed + 1) {
        inputs.push(input);
    } else {
        let place = fixed + mutator.below(inputs.len() - fixed);
        inputs[place] = input;
    }
}

impl Watch {
    fn tell(&self, finding: Finding) {
        self.is_over.store(true, Ordering::Relaxed);
        self.found.lock().expect("no panic under this lock").get_or_insert(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TARGET: Target = Target {
        name: "test",
        covers: "",
        run: |input| {
            assert!(!input.contains(&b'!'), "broken");
            Verdict::when(input.len() > 2)
        },
        seeds: Vec::new,
    };

    #[test]
    fn a_broken_promise_is_found_and_one_seed_finds_the_same() {
        let run = || {
            let time = Duration::from_secs(60);
            let watch = Watch::default();
            let what = Hunt { target: &TARGET, time, seed: 3, jobs: 1 };
            (hunt(what, &[b"abc".to_vec()], &watch, &|_| {}), watch.tried.into_inner())
        };
        let (found, tried) = run();
        let finding = found.clone().expect("a byte of 256");
        assert!(finding.input.contains(&b'!') && finding.words.contains("broken"));
        assert_eq!(run(), (found, tried));
    }
}
