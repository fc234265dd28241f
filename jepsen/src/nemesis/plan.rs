//! What happens when: drawn from the seed alone, so that a run can be repeated.

use std::time::Duration;

use quipu_runtime::Rng;

use super::Kind;

/// Nothing happens before: the load must stand first.
const CALM_FIRST_MS: u64 = 2_000;
/// Nothing begins later than this before the end.
const CALM_LAST_MS: u64 = 4_000;

/// A fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub kind: Kind,
    /// When it begins.
    pub at: Duration,
    /// When it is taken back.
    pub until: Duration,
    /// Decides what is left to chance in it.
    pub seed: u64,
}

/// What happens when, in order of begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Draws a plan: a quarter of the pauses between faults is long, and one fault in four begins
    /// while the one before lasts.
    #[must_use]
    pub fn draw(seed: u64, time: Duration, kinds: &[Kind]) -> Self {
        let mut rng = Rng::seeded(seed);
        let mut steps: Vec<Step> = Vec::new();
        let end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_sub(CALM_LAST_MS);
        let mut at = CALM_FIRST_MS + rng.below(2_000);
        let (mut bag, mut busy): (Vec<Kind>, u64) = (Vec::new(), 0);
        while at < end && !kinds.is_empty() {
            if bag.is_empty() {
                bag = kinds.to_vec();
            }
            let kind = bag.swap_remove(index(&mut rng, bag.len()));
            let until = (at + lasts_ms(kind, &mut rng)).min(end + CALM_LAST_MS / 2);
            let step = Step { kind, at: ms(at), until: ms(until), seed: rng.next_u64() };
            let follows = steps.iter().any(|before| before.until > step.at);
            steps.push(step);
            let overlaps = !follows && !kind.is_for_all() && rng.below(4) == 0;
            busy = busy.max(until);
            at = if overlaps { at + (until - at) / 2 } else { busy + pause_ms(&mut rng) };
        }
        let alone: Vec<Step> = steps.clone();
        steps.retain(|step| fits(step, &alone));
        Self { steps }
    }

    /// The faults, in order of begin.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// What hits everything has the stage for itself, and no family is there twice.
fn fits(step: &Step, all: &[Step]) -> bool {
    let before = all.iter().filter(|other| other.at < step.at && other.until > step.at);
    let mut rivals = before.map(|other| other.kind);
    !rivals.any(|rival| {
        step.kind.is_for_all() || rival.is_for_all() || rival.family() == step.kind.family()
    })
}

fn lasts_ms(kind: Kind, rng: &mut Rng) -> u64 {
    let (least, most) = match kind {
        Kind::KillOne | Kind::KillLeader | Kind::KillAll => (500, 5_000),
        Kind::PowerOne | Kind::PowerAll | Kind::Rolling => (500, 2_000),
        Kind::LostWrites | Kind::LostWritesAll => (500, 2_000),
        Kind::TornWrites | Kind::TornWritesAll => (500, 2_000),
        // What these do takes its time.
        Kind::Swapped => (3_000, 6_000),
        Kind::PartKill => (8_000, 12_000),
        Kind::Wiped | Kind::ClockStrobe => (12_000, 15_000),
        Kind::RotJournal | Kind::RotSegment | Kind::RotIndex | Kind::RotTable => (7_000, 14_000),
        // Longer than an election, which takes two seconds at most.
        _ => (3_000, 8_000),
    };
    least + rng.below(most - least)
}

fn pause_ms(rng: &mut Rng) -> u64 {
    let least = if rng.below(4) == 0 { 5_000 } else { 1_000 };
    least + rng.below(2_000)
}

fn index(rng: &mut Rng, len: usize) -> usize {
    let bound = u64::try_from(len).unwrap_or(u64::MAX);
    usize::try_from(rng.below(bound)).expect("below a length")
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(300);

    fn all() -> Vec<Kind> {
        Kind::all().collect()
    }

    #[test]
    fn one_seed_gives_one_plan_and_another_seed_another() {
        assert_eq!(Plan::draw(7, TIME, &all()), Plan::draw(7, TIME, &all()));
        assert_ne!(Plan::draw(7, TIME, &all()), Plan::draw(8, TIME, &all()));
    }

    #[test]
    fn plans_keep_to_their_time_and_what_hits_everything_stands_alone() {
        for seed in 0..200 {
            let plan = Plan::draw(seed, TIME, &all());
            let steps = plan.steps();
            assert!(steps.len() >= 15, "seed {seed}: {} faults", steps.len());
            assert!(steps[0].at >= ms(CALM_FIRST_MS));
            for (place, step) in steps.iter().enumerate() {
                assert!(step.at < step.until && step.until < TIME, "seed {seed}: {step:?}");
                let overlapping =
                    steps[..place].iter().filter(|before| before.until > step.at).count();
                assert!(overlapping <= 1, "seed {seed}: more than two at once");
                assert!(overlapping == 0 || !step.kind.is_for_all(), "seed {seed}: {step:?}");
            }
        }
    }

    #[test]
    fn every_fault_has_its_turn_and_some_overlap() {
        let plan = Plan::draw(1, Duration::from_secs(1800), &all());
        for kind in all() {
            assert!(plan.steps().iter().any(|step| step.kind == kind), "{kind} never comes");
        }
        assert!(plan.steps().windows(2).any(|pair| pair[0].until > pair[1].at));
    }

    #[test]
    fn without_faults_or_time_nothing_happens() {
        assert!(Plan::draw(1, TIME, &[]).steps().is_empty());
        assert!(Plan::draw(1, Duration::from_secs(5), &all()).steps().is_empty());
    }
}
