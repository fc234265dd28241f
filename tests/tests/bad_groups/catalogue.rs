//! The list of cases: what each was to see, and what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};

use anyhow::{Result, bail, ensure};
use quipu_proto::v1;
use quipu_types::ErrorCode;

use crate::refusal::{Refusal, Reply};

/// What a case is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// An answer.
    Accepted,
    /// A typed refusal with effect none, whose sentence has these words.
    Refused(ErrorCode, String),
}

impl From<(ErrorCode, &str)> for Want {
    fn from((code, words): (ErrorCode, &str)) -> Self {
        Self::Refused(code, words.to_owned())
    }
}

impl From<(ErrorCode, String)> for Want {
    fn from((code, words): (ErrorCode, String)) -> Self {
        Self::Refused(code, words)
    }
}

/// All cases of a run. Failures are gathered, so that one run shows all of them.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    family: &'static str,
    counts: BTreeMap<&'static str, usize>,
    names: BTreeSet<String>,
    failures: Vec<String>,
}

impl Catalogue {
    /// The cases that follow belong to this family.
    pub(crate) fn family(&mut self, name: &'static str) {
        self.family = name;
    }

    /// Adds a case that saw a reply.
    pub(crate) fn case<T: Debug>(
        &mut self,
        name: impl fmt::Display,
        want: impl Into<Want>,
        seen: &Reply<T>,
    ) {
        self.judge(name, verdict(&want.into(), seen));
    }

    /// Adds a case that was judged elsewhere.
    pub(crate) fn judge(&mut self, name: impl fmt::Display, verdict: Result<()>) {
        let name = format!("{}: {name}", self.family);
        *self.counts.entry(self.family).or_default() += 1;
        if let Err(reason) = verdict {
            self.failures.push(format!("{name}: {reason:#}"));
        }
        if !self.names.insert(name.clone()) {
            self.failures.push(format!("{name}: stands twice in the catalogue"));
        }
    }

    /// Something besides a case went wrong.
    pub(crate) fn note(&mut self, what: impl fmt::Display, outcome: Result<()>) {
        if let Err(reason) = outcome {
            self.failures.push(format!("{}: {what}: {reason:#}", self.family));
        }
    }

    /// How many cases there were.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// Cases by family.
    pub(crate) fn summary(&self) -> String {
        let families: Vec<String> =
            self.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("{} cases ({})", self.count(), families.join(", "))
    }

    /// Fails with every case that differed.
    pub(crate) fn verdict(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let (count, list) = (self.failures.len(), self.failures.join("\n  "));
        bail!("{count} of {} differ:\n  {list}", self.summary())
    }
}

fn verdict<T: Debug>(want: &Want, seen: &Reply<T>) -> Result<()> {
    match (want, seen) {
        (Want::Accepted, Ok(_)) => Ok(()),
        (Want::Refused(code, words), Err(Refusal::Typed(error))) => is_refusal(*code, words, error),
        (want, Ok(answer)) => bail!("wanted {want:?}, was accepted: {}", short(answer)),
        (want, Err(refusal)) => bail!("wanted {want:?}, saw {refusal}"),
    }
}

fn is_refusal(code: ErrorCode, words: &str, error: &v1::Error) -> Result<()> {
    let as_code = (code.to_string(), code.name().to_owned());
    let found = (error.code.clone(), error.name.clone());
    ensure!(found == as_code, "wanted {as_code:?}, saw {found:?}: {}", error.message);
    ensure!(error.message.contains(words), "wanted {words:?} in {:?}", error.message);
    let none = i32::from(v1::Effect::None);
    ensure!(error.effect == none, "effect is {}, not none: {}", error.effect, error.message);
    Ok(())
}

fn short(answer: &impl Debug) -> String {
    let text = format!("{answer:?}");
    text.chars().take(200).collect()
}
