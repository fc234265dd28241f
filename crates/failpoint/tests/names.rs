//! Each name of a table stands in the code, and each name in the code stands in a table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quipu_failpoint::{BENDS, PLANTS, POINTS};

/// How often each place is named in the product, by what it is called with.
fn places(call: &str) -> BTreeMap<String, usize> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeMap::new();
    for file in sources(&crates).into_iter().filter(|file| !file.ends_with("tests/names.rs")) {
        let text = std::fs::read_to_string(&file).expect("a source is text");
        // Calls may be broken over lines.
        let text: String = text.split_whitespace().collect();
        for rest in text.split(call).skip(1) {
            let (name, _) = rest.split_once('"').expect("a name ends");
            *found.entry(name.to_owned()).or_default() += 1;
        }
    }
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder of the checkout") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_point_is_in_the_code_once_and_every_place_in_the_table() {
    let once: BTreeMap<String, usize> =
        POINTS.iter().map(|point| ((*point).to_owned(), 1)).collect();
    let mut found = places("quipu_failpoint::hit(\"");
    for (name, times) in places("quipu_failpoint::hold(\"") {
        *found.entry(name).or_default() += times;
    }
    assert_eq!(found, once);
    assert!(POINTS.is_sorted() && POINTS.len() >= 30, "{} points", POINTS.len());
}

#[test]
fn every_bend_is_in_the_code_and_every_place_in_the_table() {
    let bent: Vec<String> = places("quipu_failpoint::is_bent(\"").into_keys().collect();
    assert_eq!(bent, BENDS);
    assert!(BENDS.iter().all(|name| name.starts_with("bend.")), "{BENDS:?}");
}

#[test]
fn every_plant_is_in_the_code_and_every_place_in_the_table() {
    let planted: BTreeSet<String> = places("quipu_failpoint::is_planted(\"").into_keys().collect();
    let listed: BTreeSet<String> = PLANTS.iter().map(|plant| plant.name.to_owned()).collect();
    assert_eq!(planted, listed);
    assert!(PLANTS.is_sorted_by_key(|plant| plant.name) && PLANTS.len() >= 14, "{listed:?}");
    assert!(listed.iter().all(|name| name.starts_with("plant.")), "{listed:?}");
}
