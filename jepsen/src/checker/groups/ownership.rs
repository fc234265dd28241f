//! One owner per partition, epochs that rise, commits of owners only.

use std::collections::HashMap;

use super::super::Anomaly;
use super::super::family::{Completed, Family, Moment, Seen};
use super::super::finding::Findings;
use super::super::run::Run;
use super::super::timeline::Rising;
use super::{Share, shown};
use crate::history::{Call, Event, Membership, Outcome, Owned, Partition};

/// A partition in the hands of a member.
#[derive(Debug)]
struct Grant {
    member: String,
    epoch: u64,
    from: Moment,
    /// Given back, or known to be lost.
    is_over: bool,
}

/// Owners and epochs.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    grants: HashMap<Share, Vec<Grant>>,
    epochs: HashMap<String, Rising>,
}

impl Family for Ownership {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, out: &mut Findings) {
        match (&op.open.call, op.answer.ok()) {
            (Call::Join { by, .. }, Some(Outcome::Joined { epoch })) => {
                self.epoch(&by.group, *epoch, op, out);
            }
            (Call::Describe { group }, Some(Outcome::Described { epoch, owners, .. })) => {
                self.epoch(group, *epoch, op, out);
                twice(group, owners, op, out);
            }
            (Call::Commit { by, offsets, .. }, Some(Outcome::Committed { refused })) => {
                let accepted = offsets.iter().filter(|(name, _)| !refused.contains(name));
                accepted.for_each(|(partition, _)| self.commit(by, partition, op, out));
            }
            (Call::Ack { by, partition, .. }, Some(_)) => self.commit(by, partition, op, out),
            (Call::Leave { by }, Some(_)) => self.left(by),
            _ => {}
        }
    }

    fn observed(&mut self, seen: &Seen<'_>, _run: &mut Run, out: &mut Findings) {
        match seen.event {
            Event::Assigned(owned) => self.assigned(owned, seen.now, out),
            Event::Revoked(owned) => self.revoked(owned, seen.now, out),
            Event::Lost(owned) => self.lost(owned),
            _ => {}
        }
    }
}

impl Ownership {
    fn epoch(&mut self, group: &str, epoch: u64, op: &Completed<'_>, out: &mut Findings) {
        let known = self.epochs.entry(group.to_owned()).or_default();
        if let Some((since, before)) = known.before(op.open.invoked)
            && epoch < before
        {
            out.report(Anomaly::EpochDecreased, &group, &[], &[since.line, op.done.line], || {
                format!("the epoch went from {before} to {epoch}")
            });
        }
        known.learn(op.done, epoch);
    }

    fn assigned(&mut self, owned: &Owned, now: Moment, out: &mut Findings) {
        let Membership { group, member, epoch } = &owned.by;
        self.epochs.entry(group.clone()).or_default().learn(now, *epoch);
        for partition in &owned.partitions {
            let grants = self.grants.entry((group.clone(), partition.clone())).or_default();
            let twin = grants.iter().find(|grant| grant.epoch == *epoch && grant.member != *member);
            if let Some(twin) = twin {
                let lines = [twin.from.line, now.line];
                out.report(Anomaly::TwoOwners, &shown(group, partition), &[], &lines, || {
                    format!("{} and {member} both got it in epoch {epoch}", twin.member)
                });
            }
            let grant = Grant { member: member.clone(), epoch: *epoch, from: now, is_over: false };
            grants.push(grant);
        }
    }

    /// A member that lets go by itself believed to be the owner until now.
    fn revoked(&mut self, owned: &Owned, now: Moment, out: &mut Findings) {
        let Membership { group, member, .. } = &owned.by;
        for partition in &owned.partitions {
            let Some(grants) = self.grants.get_mut(&(group.clone(), partition.clone())) else {
                continue;
            };
            let own = grants.iter_mut().rev().find(|grant| grant.member == *member);
            let Some(own) = own.filter(|grant| !grant.is_over) else { continue };
            own.is_over = true;
            let from = own.from;
            let rival = grants.iter().find(|grant| grant.from > from && grant.member != *member);
            if let Some(rival) = rival {
                let lines = [from.line, rival.from.line, now.line];
                out.report(Anomaly::TwoOwners, &shown(group, partition), &[], &lines, || {
                    format!("{} got it before {member} let go", rival.member)
                });
            }
        }
    }

    fn lost(&mut self, owned: &Owned) {
        for partition in &owned.partitions {
            let share = (owned.by.group.clone(), partition.clone());
            let all = self.grants.get_mut(&share).into_iter().flatten();
            all.filter(|grant| grant.member == owned.by.member)
                .for_each(|grant| grant.is_over = true);
        }
    }

    fn left(&mut self, by: &Membership) {
        let of_group = self.grants.iter_mut().filter(|((group, _), _)| *group == by.group);
        of_group
            .flat_map(|(_, grants)| grants)
            .filter(|grant| grant.member == by.member)
            .for_each(|grant| grant.is_over = true);
    }

    fn commit(
        &self,
        by: &Membership,
        partition: &Partition,
        op: &Completed<'_>,
        out: &mut Findings,
    ) {
        let Some(grants) = self.grants.get(&(by.group.clone(), partition.clone())) else { return };
        if by.member.is_empty() {
            return;
        }
        let own = grants.iter().rev().find(|grant| grant.member == by.member);
        let why = match own {
            None => "the member never owned it".to_owned(),
            Some(own) if by.epoch < own.epoch => {
                format!("the commit carried epoch {}, the grant is of {}", by.epoch, own.epoch)
            }
            Some(own) => {
                let rival = grants.iter().find(|grant| {
                    grant.from > own.from
                        && grant.from < op.open.invoked
                        && grant.member != by.member
                });
                let Some(rival) = rival else { return };
                format!("{} owned it already", rival.member)
            }
        };
        out.report(Anomaly::StaleCommit, &shown(&by.group, partition), &[], &op.lines(), || {
            format!("a commit of {} was accepted: {why}", by.member)
        });
    }
}

fn twice(
    group: &str,
    owners: &[(Partition, Option<String>)],
    op: &Completed<'_>,
    out: &mut Findings,
) {
    let mut known: HashMap<&Partition, &String> = HashMap::new();
    for (partition, owner) in owners {
        let Some(owner) = owner else { continue };
        if let Some(other) = known.insert(partition, owner)
            && other != owner
        {
            out.report(Anomaly::TwoOwners, &shown(group, partition), &[], &op.lines(), || {
                format!("{other} and {owner} are both named as owner")
            });
        }
    }
}
