//! Where values come from, and errors that point at the place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::{SETTINGS, Setting, find, nearest};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A value as text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// As written; lists are joined by commas.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {reason}\n  {line} | {text}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The line's text.
        text: String,
        /// The parser's words.
        reason: String,
    },
    /// A key nobody knows.
    #[error("{origin}: unknown setting {key:?}{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// As written.
        key: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A value that does not fit.
    #[error("{origin}: {key} = {value:?}: {reason}")]
    Value {
        /// Where.
        origin: Origin,
        /// The setting.
        key: String,
        /// As written.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// A setting without a default was not set.
    #[error(
        "setting {key} is missing: put it into the file, set {variable}, or pass --set {key}=…"
    )]
    Missing {
        /// The setting.
        key: String,
        /// The environment variable that would set it.
        variable: String,
    },
    /// Two settings contradict each other.
    #[error("{reason}")]
    Contradiction {
        /// Which, and what to change.
        reason: String,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `quipu config reference` lists all".to_owned(),
        |key| format!("; did you mean {key:?}?"),
    )
}

/// Values by key; later layers win.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, Resolved>,
}

impl Layers {
    /// The defaults alone.
    #[must_use]
    pub fn defaults() -> Self {
        let values = SETTINGS
            .iter()
            .filter_map(|setting| {
                let text = setting.default?.to_owned();
                Some((setting.key, Resolved { text, origin: Origin::Default }))
            })
            .collect();
        Self { values }
    }

    /// Lays a file over what is there.
    ///
    /// # Errors
    /// Unreadable files, syntax errors and unknown keys, with file and line.
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        self.file_text(path, &text)
    }

    /// As [`Self::file`], with the file's text; errors name `path`.
    ///
    /// # Errors
    /// Syntax errors and unknown keys, with file and line.
    pub fn file_text(mut self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            ConfigError::Syntax {
                path: path.to_owned(),
                line,
                text: text.lines().nth(line - 1).unwrap_or_default().to_owned(),
                reason: error.message().to_owned(),
            }
        })?;
        let at = |span: std::ops::Range<usize>| Origin::File {
            path: path.to_owned(),
            line: line_of(text, span.start),
        };
        for (section, value) in table.get_ref() {
            let origin = at(section.span());
            let DeValue::Table(keys) = value.get_ref() else {
                return Err(unknown(section.get_ref(), origin));
            };
            for (key, value) in keys {
                let path = format!("{}.{}", section.get_ref(), key.get_ref());
                self.set(&path, plain(value), at(key.span()))?;
            }
        }
        Ok(self)
    }

    /// Lays `QUIPU_SECTION__KEY` variables over what is there; others are left alone.
    ///
    /// # Errors
    /// Variables of that form whose key nobody knows.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        for (name, value) in variables {
            let Some((section, key)) =
                name.strip_prefix("QUIPU_").and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let path = format!("{section}.{key}").to_lowercase().replace('_', "-");
            self.set(&path, value, Origin::Environment { name })?;
        }
        Ok(self)
    }

    /// Lays `key=value` flags over what is there.
    ///
    /// # Errors
    /// Unknown keys, and flags without `=`.
    pub fn flags<'a>(
        mut self,
        flags: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        for flag in flags {
            let (key, value) = flag.split_once('=').ok_or_else(|| ConfigError::Value {
                origin: Origin::Flag,
                key: flag.to_owned(),
                value: String::new(),
                reason: "write --set section.key=value".to_owned(),
            })?;
            self.set(key, value.to_owned(), Origin::Flag)?;
        }
        Ok(self)
    }

    /// Every setting that has a value, in order of the reference.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, &Resolved)> {
        SETTINGS.iter().filter_map(|setting| Some((setting, self.values.get(setting.key)?)))
    }

    pub(super) fn get(&self, key: &'static str) -> Result<&Resolved, ConfigError> {
        self.values.get(key).ok_or_else(|| ConfigError::Missing {
            key: key.to_owned(),
            variable: format!("QUIPU_{}", key.replace('.', "__").replace('-', "_").to_uppercase()),
        })
    }

    fn set(&mut self, key: &str, text: String, origin: Origin) -> Result<(), ConfigError> {
        let setting = find(key).ok_or_else(|| unknown(key, origin.clone()))?;
        self.values.insert(setting.key, Resolved { text, origin });
        Ok(())
    }
}

fn unknown(key: &str, origin: Origin) -> ConfigError {
    let suggestion = nearest(key).map(str::to_owned);
    ConfigError::UnknownKey { origin, key: key.to_owned(), suggestion }
}

/// A TOML value as the text a flag would carry.
fn plain(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layers, ConfigError> {
        Layers::defaults().file_text(Path::new("quipu.toml"), text)
    }

    #[test]
    fn later_layers_win_and_every_value_knows_its_origin() {
        let layers = file("[raft]\nheartbeat = \"200ms\"\nelection-min = \"1s\"\n")
            .and_then(|layers| {
                layers.environment([("QUIPU_RAFT__ELECTION_MIN".into(), "2s".into())])
            })
            .and_then(|layers| layers.flags(["raft.election-max=4s"]))
            .unwrap();
        let show = |key| {
            let resolved = layers.get(key).unwrap();
            format!("{} from {}", resolved.text, resolved.origin)
        };
        assert_eq!(show("raft.heartbeat"), "200ms from quipu.toml:2");
        assert_eq!(
            show("raft.election-min"),
            "2s from environment variable QUIPU_RAFT__ELECTION_MIN"
        );
        assert_eq!(show("raft.election-max"), "4s from command line");
        assert_eq!(show("journal.file-bytes"), "64MiB from default");
    }

    #[test]
    fn errors_name_file_line_and_what_was_meant() {
        let cases = [
            (
                "[raft]\nhartbeat = 1\n",
                "quipu.toml:2: unknown setting \"raft.hartbeat\"; did you mean \"raft.heartbeat\"?",
            ),
            (
                "port = 3\n",
                "quipu.toml:1: unknown setting \"port\"; `quipu config reference` lists all",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(file(text).expect_err(text).to_string(), expected);
        }
        let syntax = file("[raft]\nheartbeat = \n").expect_err("no value").to_string();
        assert!(syntax.starts_with("quipu.toml:2: "), "{syntax}");
        let missing = Layers::defaults();
        assert_eq!(
            missing.get("node.id").expect_err("no default").to_string(),
            "setting node.id is missing: put it into the file, set QUIPU_NODE__ID, or pass --set node.id=…"
        );
    }
}
