//! The bill of materials (`CycloneDX` 1.6): every crate that the command is linked with, its
//! version, checksum, licence, and what it uses itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Release;
use crate::run;

/// Name and version: what cargo, its lock file and its metadata all say.
type Crate = (String, String);

/// The document.
pub(super) fn bill(release: &Release) -> Result<String> {
    let linked = linked()?;
    let sums = checksums()?;
    let words = ["metadata", "--format-version", "1", "--locked"];
    let metadata: Value = serde_json::from_slice(&run::cargo_output(&words)?)?;
    let packages = list(&metadata, "packages")?;
    let of_id: BTreeMap<&str, Crate> =
        packages.iter().map(|it| Ok((text(it, "id")?, named(it)?))).collect::<Result<_>>()?;
    let mut components = Vec::new();
    for package in packages {
        let it = named(package)?;
        if it.0 != "quipu-cli" && linked.contains(&it) {
            components.push((it.clone(), component(package, &it, sums.get(&it))?));
        }
    }
    components.sort_by(|left, right| left.0.cmp(&right.0));
    let mut uses = BTreeMap::new();
    for node in list(&metadata["resolve"], "nodes")? {
        let it = of_id.get(text(node, "id")?).context("a node is a package")?;
        if linked.contains(it) {
            let ids = list(node, "dependencies")?.iter().filter_map(Value::as_str);
            let below = ids.filter_map(|id| of_id.get(id)).filter(|it| linked.contains(*it));
            uses.insert(reference(it), below.map(reference).collect::<BTreeSet<_>>());
        }
    }
    let uses = uses.iter().map(|(it, below)| json!({ "ref": it, "dependsOn": below }));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(release)?,
            "component": {
                "type": "application",
                "bom-ref": reference(&("quipu-cli".to_owned(), env!("CARGO_PKG_VERSION").to_owned())),
                "name": "quipu",
                "version": release.version,
                "licenses": [{ "expression": "Apache-2.0" }],
            },
        },
        "components": components.into_iter().map(|(_, it)| it).collect::<Vec<_>>(),
        "dependencies": uses.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// What ends up in the binary: neither macros, nor what builds or tests it.
fn linked() -> Result<BTreeSet<Crate>> {
    let tree = ["tree", "--locked", "--package", "quipu-cli", "--edges", "normal,no-proc-macro"];
    let form = ["--prefix", "none", "--no-dedupe", "--format", "{p}"];
    let said = String::from_utf8(run::cargo_output(&[&tree[..], &form[..]].concat())?)?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(said.lines().filter_map(line).collect())
}

/// What the lock file pins.
fn checksums() -> Result<BTreeMap<Crate, String>> {
    let lock = std::fs::read_to_string(run::root().join("Cargo.lock"))?;
    let of = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    Ok(packages
        .filter_map(|it| Some(((of(it, "name")?, of(it, "version")?), of(it, "checksum")?)))
        .collect())
}

fn component(package: &Value, it: &Crate, sum: Option<&String>) -> Result<Value> {
    let mut made = json!({
        "type": "library",
        "bom-ref": reference(it),
        "name": it.0,
        "version": it.1,
    });
    if let Some(licence) = package["license"].as_str() {
        // Older manifests say "MIT/Apache-2.0".
        made["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(sum) = sum {
        made["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        made["purl"] = json!(format!("pkg:cargo/{}@{}", it.0, it.1.replace('+', "%2B")));
    }
    Ok(made)
}

fn reference(it: &Crate) -> String {
    format!("{}@{}", it.0, it.1)
}

fn named(package: &Value) -> Result<Crate> {
    Ok((text(package, "name")?.to_owned(), text(package, "version")?.to_owned()))
}

fn timestamp(release: &Release) -> Result<String> {
    let mut date = std::process::Command::new("date");
    super::output(date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{}", release.date)))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo says no {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo says no {key}"))
}
