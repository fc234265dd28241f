//! What documents show is what the program takes: command lines, settings, topologies.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use quipu_server::config::{Config, Layers};
use quipu_testkit::document::{self, Block};

use crate::args::{Command, ConfigVerb, Invocation, LocalVerb};
use crate::cluster;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every block of a language, with where it is.
fn blocks(language: &str) -> Vec<(String, Block)> {
    let mut found = Vec::new();
    for path in document::documents(&root()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in document::blocks(&text) {
            if block.language.split(',').next() == Some(language) {
                found.push((format!("{}:{}", path.display(), block.line), block));
            }
        }
    }
    found
}

/// The words of each program of a shell's line. Variables and substitutions are taken as they are.
fn programs(line: &str) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    let end = |word: &mut Option<String>, found: &mut Vec<Vec<String>>| {
        found.last_mut().expect("it begins with one").extend(word.take());
    };
    while let Some(it) = chars.next() {
        match (quote, it) {
            (Some(open), _) if it == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(it),
            (None, '\'' | '"') => {
                quote = Some(it);
                word.get_or_insert_default();
            }
            (None, '\\') => match chars.next() {
                Some('\n') | None => end(&mut word, &mut found),
                Some(next) => word.get_or_insert_default().push(next),
            },
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '\n') => {
                end(&mut word, &mut found);
                found.push(Vec::new());
            }
            (None, '>' | '<') => {
                end(&mut word, &mut found);
                // The name of a file follows: no word of the program's.
                found.push(vec!["a file:".to_owned()]);
            }
            (None, _) if it.is_whitespace() => end(&mut word, &mut found),
            (None, _) => word.get_or_insert_default().push(it),
        }
    }
    end(&mut word, &mut found);
    found.retain(|words| !words.is_empty());
    found
}

/// The command line of `quipu`, when that is what is started, by itself or through another program.
fn ours(words: &[String]) -> Option<&[String]> {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it == word);
    let at = match words.iter().position(|word| word == "--") {
        Some(dashes) => dashes + 1,
        None if is(0, "sudo") && is(1, "-u") => 3,
        None if is(0, "sudo") => 1,
        None => 0,
    };
    is(at, "quipu").then(|| &words[at..])
}

/// What is wrong with a command line.
fn refused(words: &[String]) -> Option<String> {
    let invocation = match Invocation::try_parse_from(words) {
        Ok(invocation) => invocation,
        Err(error) if error.exit_code() == 0 => return None,
        Err(error) => return Some(error.to_string()),
    };
    let set = settings(invocation.command);
    let layers = Layers::defaults().flags(set.iter().map(String::as_str));
    layers.err().map(|error| error.to_string())
}

/// What a command line sets, by `--set`.
fn settings(command: Command) -> Vec<String> {
    if let Command::Serve(args)
    | Command::Config(ConfigVerb::Check(args) | ConfigVerb::Show(args)) = command
    {
        args.set
    } else if let Command::Dev(args) = command {
        args.set
    } else if let Command::Local(LocalVerb::Up { set, .. } | LocalVerb::Add { set, .. }) = command {
        set
    } else {
        Vec::new()
    }
}

#[test]
fn every_command_line_that_is_shown_is_understood() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (place, block) in blocks("console") {
        for shown in block.commands() {
            for words in programs(&shown.command) {
                let Some(words) = ours(&words) else { continue };
                count += 1;
                let said = refused(words).map(|why| format!("{place}: {words:?}: {why}"));
                wrong.extend(said);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} command lines were found");
}

#[test]
fn what_is_wrong_in_a_command_line_is_found() {
    for line in [
        "quipu topik list",
        "quipu sub fees --form start",
        "seq 3 | quipu pub",
        "kubectl exec quipu-1 -- quipu node decommission",
        "quipu serve --set node.idd=1",
        "true && quipu cluster apply",
    ] {
        let programs = programs(line);
        let words = programs.iter().find_map(|it| ours(it)).unwrap();
        assert!(refused(words).is_some(), "{line} is taken");
    }
    for line in ["sudo -u quipu quipu topik", "kubectl exec quipu-1 -- quipu topik"] {
        assert!(programs(line).iter().any(|it| ours(it).is_some()), "{line}: not ours");
    }
    assert!(ours(&programs("sudo systemctl start quipu")[0]).is_none());
    let quoted = programs("quipu pub fees '{\"a\": 1}' --key \"x y\" # the rest > is no command");
    assert_eq!(quoted, [["quipu", "pub", "fees", "{\"a\": 1}", "--key", "x y"]]);
}

#[test]
fn settings_that_are_shown_are_settings() {
    for (place, block) in blocks("toml") {
        // A part of a file is enough: what must be set may stand elsewhere.
        let known = Layers::defaults()
            .flags(["node.id=1", "node.data-dir=/var/lib/quipu"])
            .and_then(|layers| layers.file_text(Path::new(&place), &block.text))
            .and_then(|layers| Config::from_layers(&layers));
        assert!(known.is_ok(), "{place}: {}", known.unwrap_err());
    }
    let typo = Layers::defaults().file_text(Path::new("typo"), "[storage]\nmin-fre = \"1GiB\"\n");
    assert!(typo.is_err());
}

#[test]
fn topologies_that_are_shown_are_topologies() {
    let found = blocks("yaml");
    for (place, block) in &found {
        // The chart's values are checked by the suite of the chart.
        if !place.contains("deploy/helm/") {
            assert_eq!(cluster::not_a_topology(&block.text), None, "{place}");
        }
    }
    assert!(!found.is_empty());
}

#[test]
fn rust_that_is_shown_is_compiled() {
    let tested = include_str!("../../client/src/lib.rs");
    for (place, block) in blocks("rust") {
        let path = place.split("../../").nth(1).unwrap().split(':').next().unwrap();
        assert!(tested.contains(&format!("/{path}\")]")), "crates/client/src/lib.rs lacks {path}");
        assert!(!block.language.contains("ignore"), "{place} is not compiled");
    }
}
