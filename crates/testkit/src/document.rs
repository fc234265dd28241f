//! What documents show: blocks of Markdown, and the commands in them with what they print.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// What follows the fence: `console`, `toml`, …
    pub language: String,
    /// Line of the fence, from 1 on.
    pub line: usize,
    /// What is between the fences.
    pub text: String,
}

/// A command of a console block, and the lines below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The command as it is typed, continued lines included.
    pub command: String,
    /// What it prints; empty when the document does not say.
    pub output: Vec<String>,
}

/// The documents of a checkout that show commands: everything in `docs/`, and what lies beside it.
///
/// # Panics
/// When the checkout cannot be read.
#[must_use]
pub fn documents(root: &Path) -> Vec<PathBuf> {
    let beside = ["README.md", "deploy/README.md", "deploy/helm/quipu/README.md"];
    let mut found: Vec<PathBuf> = beside.iter().map(|it| root.join(it)).collect();
    let mut dirs = vec![root.join("docs")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("docs can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The blocks of a document.
#[must_use]
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (line, text) in (1..).zip(markdown.lines()) {
        if let Some(language) = text.trim_start().strip_prefix("```") {
            if !is_inside {
                found.push(Block { language: language.to_owned(), line, text: String::new() });
            }
            is_inside = !is_inside;
        } else if is_inside && let Some(block) = found.last_mut() {
            block.text.push_str(text);
            block.text.push('\n');
        }
    }
    found
}

impl Block {
    /// The commands of a console block: lines that begin with `$ `, and those they go on in.
    #[must_use]
    pub fn commands(&self) -> Vec<Shown> {
        let mut found: Vec<Shown> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => {
                    found.push(Shown { command: command.to_owned(), output: Vec::new() });
                }
                (None, Some(last)) if goes_on => {
                    last.command.push('\n');
                    last.command.push_str(line);
                }
                (None, Some(last)) => last.output.push(line.to_owned()),
                (None, None) => {}
            }
            let is_command = goes_on || line.starts_with("$ ");
            goes_on = is_command && line.ends_with('\\');
        }
        found
    }
}

/// Whether a line is as shown: `…` stands for anything, and blanks are alike however many.
#[must_use]
pub fn is_as_shown(shown: &str, line: &str) -> bool {
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether all lines are as shown, in order; a line `…` stands for any number of them.
#[must_use]
pub fn are_as_shown(shown: &[String], lines: &[String]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=lines.len()).any(|skipped| are_as_shown(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, more)| is_as_shown(first, line) && are_as_shown(rest, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn commands_are_found_with_what_they_print() {
        let page = "Text\n```console\n$ one \\\n    more\nout\n$ two\n```\n```toml\na = 1\n```\n";
        let found = blocks(page);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 8]);
        let shown = |command: &str, output: &[&str]| Shown {
            command: command.to_owned(),
            output: owned(output),
        };
        assert_eq!(found[0].commands(), [shown("one \\\n    more", &["out"]), shown("two", &[])]);
        assert!(found[1].commands().is_empty());
    }

    #[test]
    fn dots_stand_for_what_differs_and_for_nothing_else() {
        for (shown, line, fits) in [
            ("a  b", "a b", true),
            ("a b", "a c", false),
            ("at … done", "at 17:00 all done", true),
            ("at … done", "at 17:00 all", false),
            ("fees", "fees and more", false),
        ] {
            assert_eq!(is_as_shown(shown, line), fits, "{shown} {line}");
        }
        let lines = owned(&["a", "b", "c"]);
        assert!(are_as_shown(&owned(&["a", "…"]), &lines));
        assert!(are_as_shown(&owned(&["…", "c"]), &lines));
        assert!(!are_as_shown(&owned(&["a", "b"]), &lines));
        assert!(!are_as_shown(&owned(&["…", "b"]), &lines));
    }
}
