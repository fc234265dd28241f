//! The format level the cluster is finalized at.

use quipu_types::{FormatLevel, MetadataVersion};

use crate::command::{NodeRegistration, Outcome};
use crate::image::Image;
use crate::refusal::Refusal;

/// Whether a node that starts reads and writes what the others write.
pub(super) fn check(image: &Image, new: &NodeRegistration) -> Result<(), Refusal> {
    if new.levels.holds(image.level) {
        return Ok(());
    }
    Err(Refusal::LevelNotRead { node: new.node, known: image.level, levels: new.levels })
}

/// Lets nodes write the formats of a level from now on. A node that is down counts by its last
/// start: it may come back as it was.
pub(super) fn finalize(
    image: &mut Image,
    version: MetadataVersion,
    level: FormatLevel,
) -> Result<Outcome, Refusal> {
    let before = image.level;
    if level < before {
        return Err(Refusal::LevelFalls { given: level, known: before });
    }
    let behind = image.nodes.iter().filter(|(_, record)| !record.levels.holds(level));
    let behind: Vec<_> = behind.map(|(node, record)| (*node, record.levels)).collect();
    if !behind.is_empty() {
        return Err(Refusal::LevelNotEverywhere { given: level, behind });
    }
    // The same request once more: the version stays.
    if level > before {
        image.level = level;
        image.version = version;
    }
    Ok(Outcome::LevelFinalized { before })
}
