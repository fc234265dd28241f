//! Links between documents: each leads to a file that is there, and to a heading that it has.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::run;

/// Directories whose Markdown is checked, and single files beside them.
const DIRECTORIES: &[&str] = &["docs", "deploy", "jepsen"];
const FILES: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
/// The table of contents of the book.
pub(crate) const SUMMARY: &str = "docs/SUMMARY.md";

/// A link in a document.
pub(crate) struct Link {
    /// Where its target is written.
    pub(crate) range: Range<usize>,
    /// What it leads to, without `#…`.
    pub(crate) path: String,
    /// The heading, if it names one.
    pub(crate) heading: Option<String>,
}

/// Everything that is broken, one sentence each.
pub(crate) fn check(breaches: &mut Vec<String>) -> Result<()> {
    let root = run::root();
    let mut pages = BTreeMap::new();
    for path in documents()? {
        let text = std::fs::read_to_string(root.join(&path))?;
        pages.insert(path, text);
    }
    for (path, text) in &pages {
        for link in links(text).iter().filter(|link| !is_outside(&link.path)) {
            if let Some(why) = broken(&pages, path, link) {
                breaches.push(format!("{}: {why}", path.display()));
            }
        }
    }
    contents(&pages, breaches)
}

/// The book has every page of `docs/`.
fn contents(pages: &BTreeMap<PathBuf, String>, breaches: &mut Vec<String>) -> Result<()> {
    let summary = pages.get(Path::new(SUMMARY)).context("the book has its contents")?;
    let listed: Vec<PathBuf> =
        links(summary).iter().map(|link| target(Path::new(SUMMARY), &link.path)).collect();
    for page in pages.keys().filter(|page| page.starts_with("docs")) {
        let count = listed.iter().filter(|it| *it == page).count();
        if count != 1 && page != Path::new(SUMMARY) {
            let page = page.display();
            breaches.push(format!("{SUMMARY} lists {page} {count} times: list it once"));
        }
    }
    Ok(())
}

/// Why a link leads nowhere.
fn broken(pages: &BTreeMap<PathBuf, String>, from: &Path, link: &Link) -> Option<String> {
    let to = if link.path.is_empty() { from.to_owned() } else { target(from, &link.path) };
    if !run::root().join(&to).exists() {
        return Some(format!("the link to {} leads to no file", link.path));
    }
    let heading = link.heading.as_ref()?;
    let known = pages.get(&to).is_some_and(|text| headings(text).contains(heading));
    (!known).then(|| format!("{} has no heading #{heading}", to.display()))
}

/// Markdown of the project, by path from its top.
fn documents() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    let mut waiting: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(run::root().join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn is_outside(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// Where a link of a page leads, from the top of the checkout.
pub(crate) fn target(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::Prefix(_) | Component::RootDir => path.push(part),
        }
    }
    path
}

/// The links of a document; code has none.
pub(crate) fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut is_code = false;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            found.extend(of_line(line, at));
        }
        at += line.len();
    }
    found
}

fn of_line(line: &str, offset: usize) -> Vec<Link> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (at, letter) in line.char_indices() {
        if letter == '`' {
            is_code = !is_code;
        }
        let Some(rest) = line[at..].strip_prefix("](").filter(|_| !is_code) else { continue };
        let Some(end) = rest.find(')') else { continue };
        let start = offset + at + 2;
        let (path, heading) = match rest[..end].split_once('#') {
            Some((path, heading)) => (path, Some(heading.to_owned())),
            None => (&rest[..end], None),
        };
        found.push(Link { range: start..start + end, path: path.to_owned(), heading });
    }
    found
}

/// The names that headings are linked by.
fn headings(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if let Some(title) = line.strip_prefix('#').filter(|_| !is_code) {
            let title = title.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
            found.push(kept.map(|it| if it == ' ' { '-' } else { it }).collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_they_are_meant() {
        let page = "A [b](c.md#d) and `[no](link)`.\n```\n[no](link)\n```\n![e](../f.png)\n";
        let found: Vec<_> =
            links(page).into_iter().map(|it| (page[it.range].to_owned(), it.path)).collect();
        let expected = [("c.md#d", "c.md"), ("../f.png", "../f.png")];
        assert_eq!(found, expected.map(|(whole, path)| (whole.to_owned(), path.to_owned())));
        assert_eq!(target(Path::new("docs/a/b.md"), "../../x/y"), Path::new("x/y"));
        assert_eq!(headings("# One, two\n```\n# no\n```\n"), ["one-two"]);
    }

    #[test]
    fn a_link_to_nothing_is_broken() {
        let page = PathBuf::from("docs/a.md");
        let text = "# Here\n[one](#here) [two](#there) [three](nowhere.md)\n".to_owned();
        let pages = BTreeMap::from([(page.clone(), text.clone())]);
        let said = |at: usize| broken(&pages, &page, &links(&text)[at]);
        assert!(said(2).is_some_and(|why| why.contains("no file")));
    }
}
