//! A look at a data directory that changes nothing, for `quipu doctor`.

use std::path::Path;

use quipu_disk::Disk;

pub use quipu_metadata::IdentityError;
pub use quipu_metadata::identity::IdentityReport;

/// Reads whose directory this is.
///
/// # Errors
/// What a start would be refused with.
pub fn identity(disk: &dyn Disk, dir: &Path) -> Result<IdentityReport, IdentityError> {
    quipu_metadata::identity::inspect(disk, dir)
}
