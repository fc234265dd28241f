//! Static members keep their partitions over a restart, and fence their older selves.

use std::collections::{HashMap, HashSet};

use super::super::Anomaly;
use super::super::family::{Answer, Completed, Family, Moment, Seen};
use super::super::finding::Findings;
use super::super::run::Run;
use super::shown;
use crate::history::{Call, Event, Membership, Owned, Partition};

/// A member that holds the place of an instance.
#[derive(Debug)]
struct Holder {
    member: String,
    held: HashSet<Partition>,
    last_seen: Moment,
}

/// Static members.
#[derive(Debug, Default)]
pub(crate) struct Statics {
    // Group and instance to its holder.
    holders: HashMap<(String, String), Holder>,
    // Group and member to the moment another took its place.
    replaced: HashMap<(String, String), Moment>,
    // Group and member to the partitions it must be given at first.
    due: HashMap<(String, String), HashSet<Partition>>,
}

impl Family for Statics {
    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, out: &mut Findings) {
        let Answer::Ok(_) = op.answer else { return };
        match &op.open.call {
            Call::Join { by, instance: Some(instance), .. } => {
                self.joined(by, instance, op, run.limits.session_ms);
            }
            Call::Commit { by, .. } | Call::Ack { by, .. } => {
                self.touch(by, op.done);
                self.commit(by, op, out);
            }
            Call::Poll { by: Some(by), .. } => self.touch(by, op.done),
            _ => {}
        }
    }

    fn observed(&mut self, seen: &Seen<'_>, _run: &mut Run, out: &mut Findings) {
        match seen.event {
            Event::Assigned(owned) => self.assigned(owned, seen.now, out),
            Event::Revoked(owned) | Event::Lost(owned) => {
                if let Some(holder) = self.holder(&owned.by) {
                    owned.partitions.iter().for_each(|name| {
                        holder.held.remove(name);
                    });
                }
            }
            _ => {}
        }
    }
}

impl Statics {
    fn holder(&mut self, by: &Membership) -> Option<&mut Holder> {
        let mut all = self.holders.iter_mut().filter(|((group, _), _)| *group == by.group);
        all.find(|(_, holder)| holder.member == by.member).map(|(_, holder)| holder)
    }

    fn touch(&mut self, by: &Membership, now: Moment) {
        if let Some(holder) = self.holder(by) {
            holder.last_seen = now;
        }
    }

    fn joined(&mut self, by: &Membership, instance: &str, op: &Completed<'_>, session_ms: u64) {
        let key = (by.group.clone(), instance.to_owned());
        let holder = Holder { member: by.member.clone(), held: HashSet::new(), last_seen: op.done };
        let Some(before) = self.holders.insert(key, holder) else { return };
        if before.member == by.member {
            return;
        }
        let away_ms = op.open.invoked.at.saturating_sub(before.last_seen.at) / 1_000_000;
        if away_ms < session_ms && !before.held.is_empty() {
            self.due.insert((by.group.clone(), by.member.clone()), before.held);
        }
        self.replaced.insert((by.group.clone(), before.member), op.done);
    }

    fn assigned(&mut self, owned: &Owned, now: Moment, out: &mut Findings) {
        let by = &owned.by;
        let due = self.due.remove(&(by.group.clone(), by.member.clone())).unwrap_or_default();
        let mut missing: Vec<_> =
            due.into_iter().filter(|name| !owned.partitions.contains(name)).collect();
        missing.sort();
        for partition in missing {
            let subject = shown(&by.group, &partition);
            out.report(Anomaly::GroupNotHealed, &subject, &[], &[now.line], || {
                format!("static member {} came back in time and did not keep it", by.member)
            });
        }
        if let Some(holder) = self.holder(by) {
            holder.held.extend(owned.partitions.iter().cloned());
            holder.last_seen = now;
        }
    }

    fn commit(&self, by: &Membership, op: &Completed<'_>, out: &mut Findings) {
        let Some(since) = self.replaced.get(&(by.group.clone(), by.member.clone())) else { return };
        if *since < op.open.invoked {
            let lines = [since.line, op.open.invoked.line, op.done.line];
            out.report(Anomaly::GroupNotHealed, &by.group, &[], &lines, || {
                format!("{} committed although its instance was taken over", by.member)
            });
        }
    }
}
