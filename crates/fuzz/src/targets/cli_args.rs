//! Command lines.

use clap::Parser;
use quipu_cli::args::Invocation;

use crate::input::text;
use crate::{Seed, Verdict};

/// Words of one line.
const WORDS_MAX: usize = 20;

/// The input: the words after `quipu`, one a line.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some(text) = text(input) else { return Verdict::Refused };
    let words = || std::iter::once("quipu").chain(text.split('\n').take(WORDS_MAX));
    match Invocation::try_parse_from(words()) {
        Ok(parsed) => {
            let again = Invocation::try_parse_from(words()).expect("it was parsed before");
            assert_eq!(format!("{again:?}"), format!("{parsed:?}"));
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!refused.render().to_string().is_empty());
            Verdict::Refused
        }
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let seed = |words: &[&str]| words.join("\n").into_bytes();
    vec![
        ("ok-sub", seed(&["sub", "fees", "--from", "-10"])),
        ("ok-pub", seed(&["pub", "fees", "{\"amount\":120}", "--key", "T-1"])),
        ("ok-topic", seed(&["topic", "create", "fees", "--partitions", "6"])),
        ("ok-serve", seed(&["serve", "--set", "node.id=1"])),
        ("ok-bench", seed(&["-o", "json", "bench", "--duration", "5s"])),
        ("unknown", seed(&["nonsense"])),
    ]
}
