//! What must hold of each command as the log says it: written a second time, from the promises.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_coordinator::{
    Answer, Command as GroupCommand, Confirmation, Group, Groups, Join, Leave, Outcome as Done,
    Owner,
};
use quipu_shard::{Command, Outcome, PartitionControl};
use quipu_types::{PartitionId, ShardId};

use super::books::{Books, Stored};
use crate::l1::census::Event;
use crate::l1::oracle::Watch;
use crate::l1::scene::Scene;
use crate::model::Applied;

/// Of one shard.
pub(super) struct Rules {
    books: Arc<Mutex<Books>>,
    scene: Scene,
    shard: ShardId,
}

impl Rules {
    pub(super) const fn new(books: Arc<Mutex<Books>>, scene: Scene, shard: ShardId) -> Self {
        Self { books, scene, shard }
    }

    fn group(
        &self,
        books: &mut Books,
        step: &Applied<'_>,
        command: &GroupCommand,
        answer: &Answer,
    ) -> Result<(), String> {
        let (before, after) = (step.before.groups(), step.after.groups());
        for name in before.names().chain(after.names()).collect::<BTreeSet<_>>() {
            let change = Change {
                name: name.as_str(),
                command,
                answer,
                before: before.group(name),
                after: after.group(name),
            };
            if change.before != change.after {
                self.note(&change);
            }
            change.check_epoch(books)?;
            change.check_owners(books, &self.scene)?;
            change.check_positions(books)?;
        }
        check_refusal(answer, before, after)
    }

    fn note(&self, change: &Change<'_>) {
        if let Some(group) = change.after {
            let (shard, name, epoch) = (self.shard, change.name, group.epoch());
            let owners = group.owners().count();
            self.scene.note(format_args!(
                "shard {shard}: group {name} in epoch {epoch} with {owners} owned: {}",
                group.last_change()
            ));
        }
    }
}

impl Watch for Rules {
    fn applied(&mut self, step: &Applied<'_>) -> Result<(), String> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        match (step.command, step.outcome) {
            (Command::Append { partition, batch }, Outcome::Appended(appended)) => {
                let base = appended.base_offset.get();
                if appended.is_duplicate { Ok(()) } else { books.appended(*partition, base, batch) }
            }
            (Command::Control(PartitionControl::Trim { partition, .. }), Outcome::Trimmed(_)) => {
                let (log_start, _) = step.after.progress(*partition).expect("it was trimmed");
                books.trimmed(*partition, log_start, step.after.kept_bytes(*partition))
            }
            (Command::Control(PartitionControl::Close { partition, .. }), _) => {
                Err(format!("partition {partition} is closed, and its topic is there"))
            }
            (Command::Group(command), Outcome::Group(answer)) => {
                let command = GroupCommand::decode(command).map_err(|error| error.to_string())?;
                let answer = Answer::decode(answer).map_err(|error| error.to_string())?;
                self.group(&mut books, step, &command, &answer)
            }
            _ => Ok(()),
        }
    }
}

/// A refusal changes nothing.
fn check_refusal(answer: &Answer, before: &Groups, after: &Groups) -> Result<(), String> {
    match &answer.0 {
        Err(refusal) if before.export() != after.export() => {
            Err(format!("groups were changed by what was refused: {refusal}"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What a command did to one group.
struct Change<'a> {
    name: &'a str,
    command: &'a GroupCommand,
    answer: &'a Answer,
    before: Option<&'a Group>,
    after: Option<&'a Group>,
}

impl Change<'_> {
    /// Epochs never fall, and rise with each change of who is there (G2).
    fn check_epoch(&self, books: &mut Books) -> Result<(), String> {
        let Some(after) = self.after else { return Ok(()) };
        books.has_epoch(self.name, after.epoch().get())?;
        let members = |group: &Group| -> Vec<_> {
            group.members().map(|member| (member.id().clone(), member.joined())).collect()
        };
        let is_other = self.before.map(members) != Some(members(after));
        let has_risen = self.before.is_none_or(|before| after.epoch() > before.epoch());
        if is_other && !has_risen {
            let (name, epoch) = (self.name, after.epoch());
            return Err(format!("group {name} has other members, still in epoch {epoch}"));
        }
        Ok(())
    }

    /// A partition changes hands when its owner let it go, or is gone (G1).
    fn check_owners(&self, books: &Books, scene: &Scene) -> Result<(), String> {
        let Some(before) = self.before else { return Ok(()) };
        for (partition, owner) in before.owners() {
            let next = self.after.and_then(|after| after.owner(partition));
            let stays = next.is_some_and(|next| next.member == owner.member);
            if stays && next.is_some_and(|next| next.since == owner.since) {
                continue;
            }
            let (name, member) = (self.name, owner.member.as_str());
            let event = format_args!("group {name} takes {partition} from {member}");
            if self.is_released(partition, owner) {
                if !stays && books.is_held(name, member, partition) {
                    return Err(format!(
                        "group {name} gives {partition} on, and {member} goes on with it"
                    ));
                }
                scene.count(Event::HandedOn, event);
            } else if self.is_gone(before, owner) {
                scene.count(Event::TakenAway, event);
            } else {
                return Err(format!(
                    "group {name} takes {partition} from {member}, which neither let it go nor is \
                     gone: {:?}",
                    self.command
                ));
            }
        }
        Ok(())
    }

    /// The owner said that it let the partition go, after it heard that it should.
    fn is_released(&self, partition: PartitionId, owner: &Owner) -> bool {
        let GroupCommand::Confirm { confirmations, .. } = self.command else { return false };
        let says = |confirmation: &Confirmation| {
            let Confirmation { member, epoch, owned } = confirmation;
            let held = owned.get(&partition.topic);
            *member == owner.member
                && owner.revoked.is_some_and(|revoked| revoked <= *epoch)
                && held.is_none_or(|held| !held.contains(&partition.index.get()))
        };
        confirmations.iter().any(says)
    }

    /// The owner left, was found dead, joined anew, or another took its place.
    fn is_gone(&self, before: &Group, owner: &Owner) -> bool {
        let GroupCommand::Update { joins, leaves, .. } = self.command else { return false };
        let member = before.member(&owner.member);
        let instance = member.and_then(|member| member.instance());
        let is_replaced = |join: &Join| {
            join.member == owner.member || instance.is_some() && join.instance.as_ref() == instance
        };
        leaves.iter().any(|leave: &Leave| leave.member == owner.member)
            || joins.iter().any(is_replaced)
            || member.is_some_and(|member| member.is_away())
    }

    /// Positions change by a commit of their owner, forward, past what was handled (G3 to G5).
    fn check_positions(&self, books: &mut Books) -> Result<(), String> {
        let of = |group: Option<&Group>| -> Vec<(PartitionId, u64)> {
            let all = group.into_iter().flat_map(Group::offsets);
            all.map(|(partition, stored)| (partition, stored.offset.get())).collect()
        };
        let (before, after) = (of(self.before), of(self.after));
        let refused = match (self.command, &self.answer.0) {
            (GroupCommand::Commit { member: Some(_), .. }, Ok(Done::Committed { refused })) => {
                Some(refused)
            }
            _ => None,
        };
        let (GroupCommand::Commit { group, member: Some(by), offsets }, Some(refused)) =
            (self.command, refused)
        else {
            if before == after {
                return Ok(());
            }
            let name = self.name;
            return Err(format!(
                "group {name} moves from {before:?} to {after:?} without a commit"
            ));
        };
        if group.as_str() != self.name {
            return Ok(());
        }
        let at = |all: &[(PartitionId, u64)], id| {
            all.iter().find(|(found, _)| *found == id).map(|(_, offset)| *offset)
        };
        for (partition, new) in offsets {
            let (was, is) = (at(&before, *partition), at(&after, *partition));
            if refused.contains_key(partition) {
                if was != is {
                    return Err(format!(
                        "a refused commit moves {partition} from {was:?} to {is:?}"
                    ));
                }
                continue;
            }
            let owner = self.before.and_then(|group| group.owner(*partition));
            let current = self.before.map(Group::epoch);
            let owns = owner.is_some_and(|owner| {
                owner.member == by.member && owner.since <= by.epoch && Some(by.epoch) <= current
            });
            if !owns {
                return Err(format!(
                    "group {} stores {} of {partition} for {} in epoch {}, which owns it not: \
                     {owner:?} in epoch {current:?}",
                    self.name, new.offset, by.member, by.epoch
                ));
            }
            let number = new.metadata.parse().ok();
            let stored = Stored { before: was, after: new.offset.get() };
            let by = (self.name, by.member.as_str(), by.epoch.get());
            books.committed(number, by, (*partition, stored))?;
        }
        let others = |all: &[(PartitionId, u64)]| -> Vec<(PartitionId, u64)> {
            let is_named = |id: &PartitionId| offsets.iter().any(|(named, _)| named == id);
            all.iter().filter(|(id, _)| !is_named(id)).copied().collect()
        };
        if others(&before) != others(&after) {
            return Err(format!("a commit of group {} moves others than it names", self.name));
        }
        Ok(())
    }
}
