//! `quipu context`: clusters by name, and which one plain commands talk to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::args::{ContextVerb, Format, Global};
use crate::exit::{Failure, NOT_FOUND};
use crate::output;

/// What `dev` and a lone `serve` listen on.
const DEFAULT_SERVERS: &str = "127.0.0.1:9192";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    servers: String,
}

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: ContextVerb) -> anyhow::Result<()> {
    match verb {
        ContextVerb::Add { name, servers } => remember(&name, &servers),
        ContextVerb::Use { name } => {
            let mut contexts = load()?;
            if !contexts.contexts.contains_key(&name) {
                return Err(unknown(&name));
            }
            contexts.current = Some(name);
            save(&contexts)
        }
        ContextVerb::List => list(global),
        ContextVerb::Remove { name } => {
            let mut contexts = load()?;
            contexts.contexts.remove(&name).ok_or_else(|| unknown(&name))?;
            contexts.current.take_if(|current| *current == name);
            save(&contexts)
        }
    }
}

/// Remembers a cluster and makes it current.
pub(crate) fn remember(name: &str, servers: &str) -> anyhow::Result<()> {
    let mut contexts = load()?;
    contexts.contexts.insert(name.to_owned(), Entry { servers: servers.to_owned() });
    contexts.current = Some(name.to_owned());
    save(&contexts)
}

/// Forgets a cluster, if it is known.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    let mut contexts = load()?;
    contexts.contexts.remove(name);
    contexts.current.take_if(|current| *current == name);
    save(&contexts)
}

/// The nodes plain commands talk to: flag or variable, else context, else the default address.
pub(crate) fn servers(global: &Global) -> anyhow::Result<String> {
    if let Some(servers) = &global.servers {
        return Ok(servers.clone());
    }
    let contexts = load()?;
    let Some(name) = global.context.as_ref().or(contexts.current.as_ref()) else {
        return Ok(DEFAULT_SERVERS.to_owned());
    };
    let entry = contexts.contexts.get(name).ok_or_else(|| unknown(name))?;
    Ok(entry.servers.clone())
}

fn unknown(name: &str) -> anyhow::Error {
    let message = format!("no context {name:?}; `quipu context list` shows what is remembered");
    Failure::with_code(NOT_FOUND, message)
}

fn list(global: &Global) -> anyhow::Result<()> {
    let contexts = load()?;
    if global.output == Format::Json {
        return output::json(&contexts);
    }
    let rows = contexts.contexts.iter().map(|(name, entry)| {
        let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
        vec![mark.to_owned(), name.clone(), entry.servers.clone()]
    });
    output::table(&["current", "name", "servers"], rows)
}

fn path() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))
        .context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(base.join("quipu/contexts.toml"))
}

fn load() -> anyhow::Result<Contexts> {
    let path = path()?;
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Contexts::default()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn save(contexts: &Contexts) -> anyhow::Result<()> {
    let path = path()?;
    let dir = path.parent().context("the file lies in a directory")?;
    std::fs::create_dir_all(dir)?;
    let text = toml::to_string(contexts)?;
    quipu_disk::write_atomic(quipu_disk::real().as_ref(), &path, text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}
