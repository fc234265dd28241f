//! `quipu manual`: the reference of verbs, and a man page for each. Both are made of the command
//! line's own definition, so that they cannot say anything else.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory};

use crate::args::Invocation;
use crate::output;

/// What pages are headed with.
const SOURCE: &str = concat!("Quipu ", env!("CARGO_PKG_VERSION"));

/// Prints the reference, or writes the pages.
pub(crate) fn run(pages: Option<&Path>) -> anyhow::Result<()> {
    let mut program = Invocation::command();
    program.build();
    match pages {
        Some(dir) => write_pages(&program, dir),
        None => output::line(reference(&program).trim_end()),
    }
}

/// The verbs that people are shown, `help` left out.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

/// One page for the program and one for each verb, below each other as `quipu-topic-create.1`.
fn write_pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    // A build that can be bent says so in its version; a page is about the release.
    let page = command.clone().version(env!("CARGO_PKG_VERSION"));
    let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
    let mut bytes = Vec::new();
    clap_mangen::Man::new(page).date("").source(SOURCE).manual("Quipu").render(&mut bytes)?;
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    verbs(command).try_for_each(|verb| write_pages(verb, dir))
}

/// The page of the reference.
fn reference(program: &Command) -> String {
    let mut page = String::from(
        "# Command line\n\nEvery verb has `--help`. `-o json` is for scripts. Exit codes: 0 done, \
         1 failed, 2 usage, 3 not found, 4 denied, 5 unavailable, 6 conflict. `quipu completion \
         bash` (or `zsh`, `fish`) prints a completion script.\n\n## Flags of every verb\n\n",
    );
    table(&mut page, program.get_arguments().filter(|it| it.is_global_set()));
    for verb in verbs(program) {
        section(&mut page, verb, 2);
    }
    page
}

/// A verb, and those below it.
fn section(page: &mut String, verb: &Command, depth: usize) {
    let path = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
    let about = verb.get_long_about().or_else(|| verb.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    put(page, &format!("\n{} {path}\n\n{about}\n", "#".repeat(depth)));
    let own = || verb.get_arguments().filter(|it| !it.is_global_set() && is_shown(it));
    if verb.get_subcommands().next().is_none() {
        let usage = verb.clone().render_usage().to_string();
        put(page, &format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ")));
    }
    if own().next().is_some() {
        page.push('\n');
        table(page, own());
    }
    if let Some(text) = verb.get_after_help() {
        put(page, &format!("\n```text\n{}\n```\n", text.to_string().trim_end()));
    }
    for below in verbs(verb) {
        section(page, below, depth + 1);
    }
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn table<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    put(page, "| Argument | Default | Meaning |\n|---|---|---|\n");
    for arg in args {
        let meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let row = format!("| `{}` | {} | {} |\n", name(arg), default(arg), meaning);
        put(page, &row);
    }
}

/// `-n, --count <COUNT>`, or `<TOPIC>`.
fn name(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first());
    let takes_value = arg.get_action().takes_values();
    let value = value.filter(|_| takes_value).map(|name| format!("<{name}>"));
    let short = arg.get_short().map(|it| format!("-{it}, ")).unwrap_or_default();
    match (arg.get_long(), value) {
        (Some(long), Some(value)) => format!("{short}--{long} {value}"),
        (Some(long), None) => format!("{short}--{long}"),
        (None, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
    }
}

/// What counts when it is not given, and where else it may be.
fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
    let variable = arg.get_env().map(|it| format!("`${}`", it.to_string_lossy()));
    let shown = if arg.get_action().takes_values() { values.join(",") } else { String::new() };
    match (shown.as_str(), variable) {
        ("", Some(variable)) => variable,
        ("", None) if arg.is_required_set() => "required".to_owned(),
        ("", None) => String::new(),
        (value, _) => format!("`{value}`"),
    }
}

fn put(page: &mut String, text: &str) {
    page.write_str(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_a_section() {
        let mut program = Invocation::command();
        program.build();
        let dir = tempfile::tempdir().unwrap();
        write_pages(&program, dir.path()).unwrap();
        let page = reference(&program);
        let topic = program.find_subcommand("topic").unwrap();
        for (name, words) in
            [("quipu-dev", "quipu dev"), ("quipu-topic-create", "quipu topic create")]
        {
            let text = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            assert!(text.contains(".TH"), "{name}: {text}");
            assert!(page.contains(&format!("# {words}\n")), "{words} has no section");
        }
        let written = std::fs::read_dir(dir.path()).unwrap().count();
        let leaves: usize = verbs(&program).map(|verb| 1 + verbs(verb).count()).sum();
        assert!(written > leaves, "{written} pages for {leaves} verbs and the program");
        assert!(!dir.path().join("quipu-manual.1").exists(), "what is hidden has no page");
        assert!(page.contains("| `-p, --partitions <PARTITIONS>` | `1` |"), "{page}");
        assert!(verbs(topic).count() > 5);
    }
}
