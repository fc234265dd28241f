//! The `VERSION` file as a test sees it: docs/formats/identity.md.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What it says of the directory.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) directory: String,
    pub(crate) cluster: String,
}

impl Version {
    /// Reads the file of a data directory.
    pub(crate) fn read(data: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(data.join("VERSION"))?;
        let (body, _) = text.rsplit_once("crc32c ").context("no checksum")?;
        let body: serde_json::Value = serde_json::from_str(body)?;
        let field = |name: &str| {
            let value = body.get(name).and_then(serde_json::Value::as_str);
            value.map(str::to_owned).with_context(|| format!("no {name} in {body}"))
        };
        Ok(Self { directory: field("directory")?, cluster: field("cluster")? })
    }
}

/// The text changed in one place, with a checksum that fits.
pub(crate) fn resealed(text: &str, from: &str, to: &str) -> Result<Vec<u8>> {
    let (body, _) = text.rsplit_once("crc32c ").context("no checksum")?;
    ensure!(body.contains(from), "{from:?} is not in {body}");
    let body = body.replacen(from, to, 1);
    let checksum = crc32c::crc32c(body.as_bytes());
    Ok(format!("{body}crc32c {checksum:08x}\n").into_bytes())
}
