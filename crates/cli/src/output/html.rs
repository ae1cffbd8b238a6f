//! Reports as one HTML file.

use std::path::Path;

use pghaul_server::page;
use pghaul_stage::{Error, Result};

/// Writes a page of this title to a file.
pub(crate) fn write(path: &Path, title: &str, body: &str) -> Result<()> {
    std::fs::write(path, page::page(title, body)).map_err(|error| {
        Error::input("the report cannot be written")
            .on(path.display().to_string())
            .because(error)
    })
}
