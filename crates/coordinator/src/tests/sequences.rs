//! Random sequences of commands, against the model and the members' own view.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::TimestampMs;

use super::clients::{Clients, confirmation};
use super::model::Model;
use super::random::Random;
use super::wishes::Cluster;
use crate::{Answer, Command, GroupName, GroupState, Groups, RowKey};

const SEQUENCES: u64 = 100_000;

struct Run {
    random: Random,
    now: i64,
    cluster: Cluster,
    groups: Groups,
    model: Model,
    clients: Clients,
    is_honest: bool,
    /// As a checkpoint left them.
    rows: BTreeMap<RowKey, Bytes>,
    trace: Vec<String>,
}

#[test]
fn groups_do_what_the_model_foretells() {
    for seed in 0..SEQUENCES {
        // Many short ones, and some that go far.
        let length = if seed.is_multiple_of(16) { 48 } else { 6 };
        if run(seed, length, false).is_err() {
            let shortest = (0..=length).find_map(|length| run(seed, length, true).err());
            panic!("seed {seed}:\n{}", shortest.unwrap());
        }
    }
}

fn run(seed: u64, length: usize, is_traced: bool) -> Result<(), String> {
    let mut random = Random::new(seed);
    let is_honest = random.one_in(2);
    let cluster = Cluster::new(&mut random, is_honest);
    let mut run = Run {
        random,
        now: 1_000,
        cluster,
        groups: Groups::default(),
        model: Model::default(),
        clients: Clients::default(),
        is_honest,
        rows: BTreeMap::new(),
        trace: Vec::new(),
    };
    let result = (0..length).try_for_each(|_| run.step(is_traced));
    let result = result.and_then(|()| run.settle(is_traced));
    let result =
        if seed.is_multiple_of(4) { result.and_then(|()| run.checkpoint()) } else { result };
    result.map_err(|what| format!("{}\n{what}", run.trace.join("\n")))
}

impl Run {
    fn step(&mut self, is_traced: bool) -> Result<(), String> {
        self.now += i64::try_from(self.random.below(20)).unwrap();
        if self.random.one_in(24) {
            return self.checkpoint();
        }
        if self.random.one_in(48) {
            return self.install();
        }
        if self.is_honest {
            if self.random.one_in(2) {
                self.clients.hear(&mut self.random, &self.groups);
            }
            if self.random.one_in(4)
                && let Some(command) = self.clients.arrival(&mut self.random)
            {
                return self.apply(command, is_traced);
            }
        }
        let command = self.cluster.wish(&mut self.random, &self.model);
        self.apply(command, is_traced)
    }

    fn apply(&mut self, command: Command, is_traced: bool) -> Result<(), String> {
        let now = TimestampMs::new(self.now);
        let encoded = command.encode();
        if is_traced {
            self.trace.push(String::from_utf8(encoded.to_vec()).unwrap());
        }
        let decoded = Command::decode(&encoded).map_err(|error| error.to_string())?;
        if decoded != command {
            return Err("the command is another after encoding".to_owned());
        }
        let foretold = self.model.foretell(now, &command);
        let before = foretold.answer.0.is_err().then(|| self.groups.clone());
        let answer = self.groups.apply(now, decoded);
        if answer != foretold.answer {
            return Err(format!("answer {answer:?}, foretold {:?}", foretold.answer));
        }
        if Answer::decode(&answer.encode()).as_ref() != Ok(&answer) {
            return Err("the answer is another after encoding".to_owned());
        }
        if before.is_some_and(|before| before != self.groups) {
            return Err("a refusal changed something".to_owned());
        }
        self.model.check(&self.groups, foretold)?;
        if self.is_honest && answer.0.is_ok() {
            self.clients.follow(&command, &self.groups);
            self.clients.check(&self.groups)?;
        }
        Ok(())
    }

    /// Everybody says what it has at the end: then all have what they are to have.
    fn settle(&mut self, is_traced: bool) -> Result<(), String> {
        let names: Vec<GroupName> = self.groups.names().cloned().collect();
        for group in names {
            let found = self.groups.group(&group).unwrap();
            let confirmations = found.members().map(|member| {
                let assignment = found.assignment(member.id()).unwrap();
                confirmation(member.id().clone(), found.epoch(), &assignment.assigned)
            });
            let confirmations = confirmations.collect();
            // They have heard the last epoch, and let go with it.
            self.is_honest = false;
            self.apply(Command::Confirm { group: group.clone(), confirmations }, is_traced)?;
            if self.groups.group(&group).unwrap().state() == GroupState::Reconciling {
                return Err(format!("{group} does not settle"));
            }
        }
        Ok(())
    }

    /// The stale rows are written; a start finds the same groups.
    fn checkpoint(&mut self) -> Result<(), String> {
        write(&mut self.rows, &self.groups);
        self.groups.note_durable();
        let opened = Groups::open(self.rows.clone()).map_err(|error| error.to_string())?;
        if opened != self.groups {
            return Err("other groups after a start".to_owned());
        }
        self.groups = opened;
        Ok(())
    }

    /// A replica that stayed at the last checkpoint takes a snapshot.
    fn install(&mut self) -> Result<(), String> {
        let mut other = Groups::open(self.rows.clone()).map_err(|error| error.to_string())?;
        let imported = Groups::import(&self.groups.export()).map_err(|error| error.to_string())?;
        other.replace(imported);
        self.groups = other;
        self.checkpoint()?;
        let keys = self.rows.keys().filter(|key| **key != RowKey::Floor);
        if !keys.map(RowKey::as_str).eq(self.model.groups.keys().map(GroupName::as_str)) {
            return Err("rows of other groups after a snapshot".to_owned());
        }
        Ok(())
    }
}

fn write(rows: &mut BTreeMap<RowKey, Bytes>, groups: &Groups) {
    for (name, row) in groups.stale_rows() {
        match row {
            Some(row) => drop(rows.insert(name, row)),
            None => drop(rows.remove(&name)),
        }
    }
}
