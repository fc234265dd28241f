//! Long histories of a perfect cluster are valid, and one named damage is found by its name.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests look at a few of many kinds of lines"
)]

#[path = "common/world.rs"]
mod world;

use quipu_jepsen::checker::{Anomaly, Checker, Report, Verdict};
use quipu_jepsen::history::{Batch, Call, Event, Line, Outcome, Polled, Value};
use quipu_runtime::Rng;
use world::{World, partition};

const SEEDS: u64 = 60;
const CALLS: u64 = 400;

fn judge(lines: &[Line]) -> Report {
    let mut checker = Checker::new();
    for (line, number) in lines.iter().cloned().zip(1..) {
        checker.feed(number, line).unwrap();
    }
    checker.finish()
}

#[test]
fn histories_of_a_perfect_cluster_are_valid() {
    for seed in 0..SEEDS * 3 {
        let report = judge(&World::history(seed, CALLS));
        assert_eq!(report.verdict, Verdict::Valid, "seed {seed}: {report:#?}");
        assert!(report.counts.acked_records > 50, "{:?}", report.counts);
        assert!(report.counts.unclear_appends > 0, "{:?}", report.counts);
    }
}

/// Applies one damage to many histories; each must be found by its name.
fn each_is_found(names: &[Anomaly], damage: impl Fn(&mut Vec<Line>, &mut Rng) -> Option<()>) {
    let mut applied = 0;
    for seed in 0..SEEDS {
        let mut lines = World::history(seed, CALLS);
        if damage(&mut lines, &mut Rng::seeded(seed)).is_none() {
            continue;
        }
        applied += 1;
        let report = judge(&lines);
        assert!(
            names.iter().any(|name| report.counts_by_anomaly.contains_key(name)),
            "seed {seed}: {names:?} is not found: {:#?}",
            report.findings
        );
    }
    assert!(applied > SEEDS / 2, "{names:?}: the damage fits {applied} of {SEEDS} histories");
}

fn outcomes(lines: &mut [Line]) -> impl Iterator<Item = &mut Outcome> {
    lines.iter_mut().filter_map(|line| match &mut line.event {
        Event::Ok { outcome, .. } => Some(outcome),
        _ => None,
    })
}

fn polls(lines: &mut [Line]) -> impl Iterator<Item = &mut Polled> {
    outcomes(lines).filter_map(|outcome| match outcome {
        Outcome::Polled { partitions } => partitions.first_mut(),
        _ => None,
    })
}

fn final_read(lines: &mut [Line], place: usize) -> &mut Polled {
    let all = polls(lines).filter(|polled| polled.partition == partition(place));
    all.last().expect("there are final reads")
}

fn pick<T>(rng: &mut Rng, from: Vec<T>) -> Option<T> {
    let place = usize::try_from(rng.below(from.len() as u64)).unwrap();
    from.into_iter().nth(place)
}

/// Some record of a partition that is not its last.
fn inner(lines: &mut [Line], rng: &mut Rng) -> Option<Batch> {
    let mut batches = final_read(lines, 0).batches.clone();
    batches.pop();
    pick(rng, batches)
}

#[test]
fn an_acknowledged_record_that_no_read_returns_is_lost() {
    each_is_found(&[Anomaly::LostWrite], |lines, rng| {
        let lost = inner(lines, rng)?.values[0];
        polls(lines).for_each(|polled| polled.batches.retain(|batch| batch.values[0] != lost));
        Some(())
    });
}

#[test]
fn two_swapped_records_are_inconsistent() {
    each_is_found(&[Anomaly::InconsistentOffsets], |lines, rng| {
        let first = inner(lines, rng)?.offset;
        let batches = &mut final_read(lines, 0).batches;
        let place = batches.iter().position(|batch| batch.offset == first)?;
        let values = batches[place].values.clone();
        batches[place].values = std::mem::replace(&mut batches[place + 1].values, values);
        Some(())
    });
}

fn again(lines: &mut [Line], rng: &mut Rng) -> Option<()> {
    let mut copy = inner(lines, rng)?;
    let polled = final_read(lines, 0);
    copy.offset = polled.high_watermark?;
    polled.high_watermark = Some(copy.offset + 1);
    polled.batches.push(copy);
    Some(())
}

#[test]
fn a_record_that_lies_there_twice_is_a_duplicate_and_repeats_its_sequence() {
    each_is_found(&[Anomaly::Duplicate], |lines, rng| again(lines, rng));
    each_is_found(&[Anomaly::RepeatedSequence], |lines, rng| again(lines, rng));
}

#[test]
fn a_poll_in_reverse_order_is_nonmonotonic() {
    each_is_found(&[Anomaly::IntNonmonotonicPoll], |lines, rng| {
        let long = polls(lines).filter(|polled| polled.batches.len() > 1).collect();
        pick(rng, long)?.batches.reverse();
        Some(())
    });
}

#[test]
fn a_fetch_that_begins_too_late_breaks_its_window() {
    each_is_found(&[Anomaly::ReadWindow], |lines, _| {
        final_read(lines, 0).batches.remove(0);
        Some(())
    });
}

#[test]
fn an_unknown_value_a_changed_one_and_a_foreign_one_are_told_apart() {
    each_is_found(&[Anomaly::Phantom], |lines, rng| {
        let offset = inner(lines, rng)?.offset;
        let batches = &mut final_read(lines, 0).batches;
        batches.iter_mut().find(|batch| batch.offset == offset)?.values[0] = Value(1 << 60, 7);
        Some(())
    });
    each_is_found(&[Anomaly::Payload], |lines, rng| {
        pick(rng, polls(lines).filter(|polled| !polled.batches.is_empty()).collect())?.batches
            [0]
        .values[0]
            .1 += 1;
        Some(())
    });
    each_is_found(&[Anomaly::WrongPartition], |lines, rng| {
        let mut foreign = inner(lines, rng)?;
        let polled = final_read(lines, 1);
        foreign.offset = polled.high_watermark?;
        polled.high_watermark = Some(foreign.offset + 1);
        polled.batches.push(foreign);
        Some(())
    });
}

#[test]
fn a_refused_append_whose_value_is_read_is_an_aborted_read() {
    each_is_found(&[Anomaly::AbortedRead], |lines, rng| {
        let read = inner(lines, rng)?.values[0];
        let has_it =
            |call: &Call| matches!(call, Call::Append { values, .. } if values.contains(&read));
        let ids: Vec<u64> = lines
            .iter()
            .filter_map(|line| match &line.event {
                Event::Invoke { id, call } if has_it(call) => Some(*id),
                _ => None,
            })
            .collect();
        for line in lines {
            if let Event::Ok { id, .. } | Event::Info { id, .. } = &line.event
                && ids.contains(id)
            {
                let error = serde_json::from_str(r#"{"code":"QUOTA","effect":"none"}"#).ok()?;
                line.event = Event::Fail { id: *id, error };
            }
        }
        Some(())
    });
}

#[test]
fn an_end_that_goes_back_is_misplaced() {
    each_is_found(&[Anomaly::EndMisplaced, Anomaly::EndDecreased], |lines, _| {
        let ends = outcomes(lines).filter_map(|outcome| match outcome {
            Outcome::Offsets { high_watermark, .. } if *high_watermark > 9 => Some(high_watermark),
            _ => None,
        });
        *ends.last()? = 1;
        Some(())
    });
}

#[test]
fn a_retry_with_another_offset_is_found() {
    each_is_found(&[Anomaly::RetryMoved], |lines, rng| {
        let mut answered: Vec<(u64, u64)> = Vec::new();
        let mut first_value = std::collections::HashMap::new();
        let mut retries = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            match &line.event {
                Event::Invoke { id, call: Call::Append { values, .. } } => {
                    first_value.insert(*id, (values[0].0, line.at));
                }
                Event::Ok { id, outcome: Outcome::Appended { .. } } => {
                    let (value, invoked) = first_value[id];
                    if answered.iter().any(|(known, at)| *known == value && *at < invoked) {
                        retries.push(place);
                    }
                    answered.push((value, line.at));
                }
                _ => {}
            }
        }
        let place = pick(rng, retries)?;
        if let Event::Ok { outcome: Outcome::Appended { offset: Some(offset) }, .. } =
            &mut lines[place].event
        {
            *offset += 1;
        }
        Some(())
    });
}

#[test]
fn a_committed_position_that_goes_back_is_found() {
    each_is_found(&[Anomaly::CommitRegister], |lines, _| {
        let mut reads = outcomes(lines).filter_map(|outcome| match outcome {
            Outcome::Positions { offsets } => offsets[0].1.is_some().then_some(&mut offsets[0].1),
            _ => None,
        });
        let first = (*reads.next()?)?;
        let last = reads.last().filter(|last| last.is_some_and(|offset| offset > first))?;
        *last = Some(first);
        Some(())
    });
}

#[test]
fn a_group_with_two_owners_an_older_epoch_or_a_foreign_commit_is_found() {
    each_is_found(&[Anomaly::TwoOwners], |lines, _| {
        let place = lines.iter().rposition(|line| matches!(line.event, Event::Assigned(_)))?;
        let mut twin = lines[place].clone();
        let Event::Assigned(owned) = &mut twin.event else { return None };
        owned.by.member.push_str("-twin");
        lines.insert(place + 1, twin);
        Some(())
    });
    each_is_found(&[Anomaly::EpochDecreased], |lines, _| {
        let described = outcomes(lines).filter_map(|outcome| match outcome {
            Outcome::Described { epoch, .. } if *epoch > 1 => Some(epoch),
            _ => None,
        });
        *described.last()? = 0;
        Some(())
    });
    each_is_found(&[Anomaly::StaleCommit], |lines, rng| {
        let answered: Vec<u64> = lines
            .iter()
            .filter_map(|line| match &line.event {
                Event::Ok { id, outcome: Outcome::Committed { .. } } => Some(*id),
                _ => None,
            })
            .collect();
        let commits = lines.iter_mut().filter_map(|line| match &mut line.event {
            Event::Invoke { id, call: Call::Commit { by, .. } } if answered.contains(id) => {
                Some(by)
            }
            _ => None,
        });
        pick(rng, commits.collect())?.epoch = 0;
        Some(())
    });
}
